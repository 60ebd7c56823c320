"""The figures of the drift report, from its plain data; a figure without data is left out."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.drift.page.data import Cell, Data
from cxr_max.drift.page.draw import DASHES, FILLS, HATCHES, INK, MARKERS, MUTED, Figure, short, whiskers
from cxr_max.drift.page.groups import changes, subgroups
from cxr_max.drift.page.marks import interval, made, names, words
from cxr_max.optional import require

HEADLINES = (("precision", "precision"), ("recall", "recall"), ("similarity_tfidf", "lexical similarity"))
EVENTS = (
    ("grounding_accuracy/micro", "right side, prompted findings"), ("laterality_flip_rate/micro", "side flipped"),
    ("negation_flip_rate/micro", "negation flipped"), ("invented_finding_rate/micro", "finding invented"),
    ("invented_device_rate/micro", "device invented"), ("hedging_rate/micro", "hedged"), ("refusal_rate", "refused"),
)  # fmt: skip
LEAST_SPAN = 0.06
"""Least height of the axis of shares along the reasoning."""


def all_figures(data: Data) -> list[Figure]:
    """Every figure the data allow, in the order of the page."""
    drawn = (
        teachers(data), events(data), pairs(data), steps(data), findings(data), subgroups(data), changes(data),
    )  # fmt: skip
    return [f for f in drawn if f is not None]


def teachers(data: Data) -> Figure | None:
    """Precision, recall and lexical similarity per teacher, in the shape of the paper's Figure 1a."""
    rows = [(m, label, [data.cell(t, m) for t in data.teachers]) for m, label in HEADLINES]
    rows = [r for r in rows if any(c is not None and c.value is not None for c in r[2])]
    if not rows:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        height = 0.8 / len(rows)
        for k, (metric, label, cells) in enumerate(rows):
            at = np.arange(len(cells)) + (k - (len(rows) - 1) / 2) * height
            _bars(axes, at, cells, height, label, k)
            for y, teacher in zip(at, data.teachers, strict=True):
                shuffled = data.cell(teacher, f"{metric}_matched_shuffle")
                if shuffled is not None and shuffled.value is not None:
                    ends = ([shuffled.value] * 2, [y - height / 2, y + height / 2])
                    axes.plot(*ends, color="white", lw=4.4, solid_capstyle="butt")
                    axes.plot(*ends, color=INK, lw=1.8, solid_capstyle="butt")
                published = data.published(teacher, metric)
                if published is not None:
                    axes.plot(published, y, marker="D", ms=4.5, mfc="white", mec=INK, ls="none", zorder=5)
        names(axes, data.teachers)
        axes.set_xlim(0, min(1.0, 1.06 * _furthest(data)))
        axes.grid(axis="y", visible=False)
        _key(axes, data)
        figure.legend(loc="outside upper center", ncols=2 if narrow else 5)

    n = len(data.teachers)
    which = "published_synthetic" if data.synthetic else "published_real"
    filled = {"n_patients": data.about["n_patients"], "published": words("teachers", which)}
    return made("teachers", draw, (9, 1.2 + 0.62 * n), (4.4, 1.6 + 0.6 * n), **filled)


def _furthest(data: Data) -> float:
    """The largest number drawn."""
    cells = [data.cell(t, f"{m}{s}") for t in data.teachers for m, _ in HEADLINES for s in ("", "_matched_shuffle")]
    drawn = [x for c in cells if c is not None for x in (c.value, c.high) if x is not None]
    drawn += [p for t in data.teachers for m, _ in HEADLINES if (p := data.published(t, m)) is not None]
    return max([*drawn, 0.1])


def _key(axes: Any, data: Data) -> None:
    """Empty marks for the legend."""
    if any(data.cell(t, "precision_matched_shuffle") for t in data.teachers):
        axes.plot([], [], color=INK, lw=0, marker="|", ms=10, mew=1.8, label="matched shuffle")
    if any(data.published(t, "precision") is not None for t in data.teachers):
        axes.plot([], [], marker="D", ms=4.5, mfc="white", mec=INK, ls="none", label="as published")


def _bars(axes: Any, at: Any, cells: Sequence[Cell | None], height: float, label: str, k: int) -> None:
    values = [np.nan if c is None or c.value is None else c.value for c in cells]
    look = {"color": FILLS[k], "edgecolor": INK, "linewidth": 0.6, "hatch": HATCHES[k]}
    axes.barh(at, values, height * 0.92, label=label, **look)
    for y, found in zip(at, cells, strict=True):
        if found is not None and found.value is not None:
            interval(axes, found, y, height * 0.3)


def events(data: Data) -> Figure | None:
    """Rates of drift events, one panel each."""
    panels = [(label, [data.cell(t, m) for t in data.teachers], m) for m, label in EVENTS]
    panels = [p for p in panels if any(c is not None and c.value is not None for c in p[1])]
    if not panels:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        columns = 2 if narrow else 4
        grid = figure.subplots(-(-len(panels) // columns), columns, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _dots(axes, data, *panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        names(grid[0][0], data.teachers)

    rows = -(-len(panels) // 4)
    n = len(data.teachers)
    narrow = (4.4, (1.1 + 0.2 * n) * -(-len(panels) // 2))
    return made("events", draw, (9, (1.1 + 0.22 * n) * rows), narrow)


def _dots(axes: Any, data: Data, label: str, cells: Sequence[Cell | None], metric: str) -> None:
    for y, (teacher, cell) in enumerate(zip(data.teachers, cells, strict=True)):
        if cell is None or cell.value is None:
            continue
        ends = np.array([whiskers(cell.low, cell.high, cell.value)]).T
        axes.errorbar(cell.value, y, xerr=ends, fmt="o", ms=4, color=FILLS[0], ecolor=MUTED, elinewidth=1, capsize=2)
        prior = data.cell(teacher, "grounding_side_prior/micro") if metric.startswith("grounding") else None
        if prior is not None and prior.value is not None:
            axes.plot(prior.value, y, marker="o", ms=4, mfc="white", mec=INK, ls="none")
    axes.set_title(textwrap.fill(label, 17), fontsize=8.5, loc="left")
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.locator_params(axis="x", nbins=4)


def pairs(data: Data) -> Figure | None:
    """Divergence between every two teachers, ordered by a dendrogram."""
    matrix = data.pair_matrix("jensen_shannon")
    if matrix is None or len(data.teachers) < 3 or np.isnan(matrix).any():
        return None
    hierarchy = require("scipy.cluster.hierarchy", extra="drift")
    distance = require("scipy.spatial.distance", extra="drift")
    tree = hierarchy.linkage(distance.squareform(matrix, checks=False), "average")
    order = hierarchy.leaves_list(tree)

    def draw(figure: Any, narrow: bool) -> None:
        branches, axes = figure.subplots(1, 2, width_ratios=(1, 4 if not narrow else 3))
        plain = {"no_labels": True, "color_threshold": 0, "above_threshold_color": INK}
        hierarchy.dendrogram(tree, orientation="left", ax=branches, **plain)
        branches.set_axis_off()
        branches.invert_yaxis()
        shown = matrix[np.ix_(order, order)]
        np.fill_diagonal(shown, np.nan)
        axes.imshow(shown, cmap="Greys", vmin=0, vmax=np.nanmax(shown) * 1.15, aspect="auto")
        names = [short(data.display(data.teachers[i])) for i in order]
        axes.set_xticks(range(len(names)), names, rotation=60 if narrow else 35, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.grid(visible=False)
        for i, row in enumerate(shown):
            for j, value in enumerate(row):
                if not np.isnan(value):
                    dark = value > 0.6 * np.nanmax(shown)
                    axes.text(
                        j, i, f"{value:.3f}"[1:], ha="center", va="center", fontsize=7.5, color="white" if dark else INK
                    )

    return made("pairs", draw, (7.5, 4.6), (4.4, 4.6))


def steps(data: Data) -> Figure | None:
    """Along the reasoning: disagreement given the kind of statement, divergence of both views, assertion density."""
    views = [v for v in ("topic-aligned", "plain") if data.curve(v, "divergence")]
    adjusted = data.curve("kind-adjusted", "disagreement")
    if not views and adjusted is None:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        grid = _step_grid(figure, narrow, (adjusted is not None, len(views)))
        if grid[0] is not None and adjusted is not None:
            _disagreement(grid[0], adjusted, data.curve("kind-adjusted", "disagreement if constant"))
        for (top, bottom), view in zip(grid[1], views, strict=True):
            _curve(top, bottom, data, view)
        for top, bottom in grid[1][:1]:
            top.set_ylabel("divergence (bits)")
            bottom.set_ylabel("steps with\nfindings")
            figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=2 if narrow else 4,
                          fontsize=8)  # fmt: skip
        lead = grid[0] if grid[0] is not None else grid[1][0][0]
        handles, labels = lead.get_legend_handles_labels()
        labels = ["observed" if x in ("divergence", "disagreement") else x for x in labels]
        figure.legend(handles, labels, loc="outside upper center", ncols=1 if narrow else 3)

    return made("steps", draw, (10.5, 5.4), (4.4, 8.4))


def _step_grid(figure: Any, narrow: bool, parts: tuple[bool, int]) -> tuple[Any | None, list[tuple[Any, Any]]]:
    """Axes of the adjusted curve, and a pair (curve, density) for each view; side by side, or one above the others."""
    adjusted, views = parts
    beside = adjusted and not narrow
    lead = int(adjusted and narrow)
    columns = max(views, 1) + int(beside)
    rows = 2 * bool(views) + lead or 1
    heights = ([2] if lead else []) + ([2, 1] if views else []) or [1]
    cells = figure.add_gridspec(rows, columns, height_ratios=heights)
    first = figure.add_subplot(cells[:, 0] if beside else cells[0, :]) if adjusted else None
    pairs = []
    for v in range(views):
        bottom = figure.add_subplot(cells[lead + 1, v + int(beside)])
        top = figure.add_subplot(cells[lead, v + int(beside)], sharex=bottom)
        top.tick_params(labelbottom=False)
        pairs.append((top, bottom))
    return first, pairs


def _disagreement(axes: Any, found: Any, constant: Any) -> None:
    """Share of the other teachers who disagree with a statement, by its place among statements of its kind."""
    x, value, low, high = found
    if not np.isnan(low).all():
        axes.fill_between(x, low, high, color=FILLS[2], label="95 % interval")
    if constant is not None:
        axes.plot(constant[0], constant[1], color=MUTED, ls="--", lw=1.2, label="expected if constant")
    axes.plot(x, value, color=INK, marker="o", ms=4, label="disagreement")
    axes.set_title("kind-adjusted", fontsize=9, loc="left")
    # An axis cut to a flat curve would make hills of noise.
    ends = [v for v in (*low, *high, *value) if not np.isnan(v)]
    middle, half = (min(ends) + max(ends)) / 2, max((max(ends) - min(ends)) * 0.55, LEAST_SPAN / 2)
    axes.set_ylim(middle - half, middle + half)
    axes.set_ylabel("other teachers who disagree (share)")
    axes.set_xticks(x, ["first", "middle", "last"] if len(x) == 3 else [str(int(i) + 1) for i in x])
    axes.set_xlabel("place among statements of the kind")


def _curve(top: Any, bottom: Any, data: Data, view: str) -> None:
    divergence = data.curve(view, "divergence")
    if divergence is None:
        return
    x, value, low, high = divergence
    if not np.isnan(low).all():
        top.fill_between(x, low, high, color=FILLS[2], label="95 % interval")
    constant = data.curve(view, "divergence if constant")
    if constant is not None:
        top.plot(constant[0], constant[1], color=MUTED, ls="--", lw=1.2, label="expected if constant")
    top.plot(x, value, color=INK, marker="o", ms=4, label="divergence")
    top.set_title(view, fontsize=9, loc="left")
    for k, teacher in enumerate(data.teachers):
        found = data.curve(view, "assertion density", teacher)
        if found:
            bottom.plot(
                found[0], found[1], color=INK if k % 2 else MUTED, lw=0.9, ls=DASHES[k % len(DASHES)],
                marker=MARKERS[k % len(MARKERS)], ms=3.5, mfc="white", label=short(data.display(teacher)),
            )  # fmt: skip
    bottom.set_xticks(x, [str(int(i) + 1) for i in x])
    bottom.set_xlabel("part of the text")
    bottom.set_ylim(bottom=0)


def findings(data: Data) -> Figure | None:
    """Agreement of all teachers per finding."""
    rows = data.agreement("krippendorff_alpha")
    if not rows:
        return None
    rows.sort(key=lambda r: -(r[1].value if r[1].value is not None else -9.0))

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for y, (_, cell) in enumerate(rows):
            if cell.value is not None:
                ends = np.array([whiskers(cell.low, cell.high, cell.value)]).T
                axes.errorbar(cell.value, y, xerr=ends, fmt="o", ms=5, color=FILLS[0], ecolor=MUTED, capsize=2)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(rows)), [short(name) for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel("Krippendorff's alpha")

    n = len(rows)
    return made("findings", draw, (7.5, 0.8 + 0.26 * n), (4.4, 0.9 + 0.26 * n))
