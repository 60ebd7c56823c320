"""The figures of the drift report, from its plain data; a figure without data is left out."""

import tomllib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np

from cxr_max.drift.page.data import Cell, Data
from cxr_max.drift.page.draw import FILLS, HATCHES, INK, MUTED, Figure, short, whiskers
from cxr_max.optional import require

HEADLINES = (("precision", "precision"), ("recall", "recall"), ("similarity_tfidf", "lexical similarity"))
EVENTS = (
    ("grounding_accuracy/micro", "right side, prompted findings"), ("laterality_flip_rate/micro", "side flipped"),
    ("negation_flip_rate/micro", "negation flipped"), ("invented_finding_rate/micro", "finding invented"),
    ("invented_device_rate/micro", "device invented"), ("hedging_rate/micro", "hedged"), ("refusal_rate", "refused"),
)  # fmt: skip


def _words(figure: str, key: str) -> str:
    text = resources.files("cxr_max.drift.page").joinpath("captions.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)[figure][key])


def _figure(
    name: str, draw: Callable[[Any, bool], None], wide: tuple[float, float], narrow: tuple[float, float], **filled: Any
) -> Figure:
    return Figure(name, _words(name, "title"), _words(name, "caption").format(**filled), draw, wide, narrow)


def all_figures(data: Data) -> list[Figure]:
    """Every figure the data allow, in the order of the page."""
    made = (teachers(data), events(data), pairs(data), steps(data), findings(data))
    return [f for f in made if f is not None]


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
                    axes.plot([shuffled.value] * 2, [y - height / 2, y + height / 2], color="white", lw=3.2)
                    axes.plot([shuffled.value] * 2, [y - height / 2, y + height / 2], color=INK, lw=1.6)
                published = data.published(teacher, metric)
                if published is not None:
                    axes.plot(published, y, marker="D", ms=4, mfc="white", mec=INK, ls="none")
        _names(axes, data.teachers)
        axes.set_xlim(0, 1)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper center", ncols=2 if narrow else 3)

    n = len(data.teachers)
    which = "published_synthetic" if data.synthetic else "published_real"
    filled = {"n_patients": data.about["n_patients"], "published": _words("teachers", which)}
    return _figure("teachers", draw, (9, 1.2 + 0.62 * n), (4.4, 1.6 + 0.6 * n), **filled)


def _bars(axes: Any, at: Any, cells: Sequence[Cell | None], height: float, label: str, k: int) -> None:
    values = [np.nan if c is None or c.value is None else c.value for c in cells]
    ends = [(0.0, 0.0) if c is None or c.value is None else whiskers(c.low, c.high, c.value) for c in cells]
    axes.barh(
        at, values, height * 0.92, label=label, color=FILLS[k], edgecolor=INK, linewidth=0.6, hatch=HATCHES[k],
        xerr=np.array(ends).T, error_kw={"ecolor": "#8a8a8a", "elinewidth": 1.4, "capsize": 2.5},
    )  # fmt: skip


def _names(axes: Any, teachers_: Sequence[str], display: Any = None) -> None:
    axes.set_yticks(range(len(teachers_)), [short(Data.display(t)) for t in teachers_])
    axes.invert_yaxis()


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
        _names(grid[0][0], data.teachers)

    rows = -(-len(panels) // 4)
    n = len(data.teachers)
    narrow = (4.4, (0.9 + 0.2 * n) * -(-len(panels) // 2))
    return _figure("events", draw, (9, (0.9 + 0.22 * n) * rows), narrow)


def _dots(axes: Any, data: Data, label: str, cells: Sequence[Cell | None], metric: str) -> None:
    for y, (teacher, cell) in enumerate(zip(data.teachers, cells, strict=True)):
        if cell is None or cell.value is None:
            continue
        ends = np.array([whiskers(cell.low, cell.high, cell.value)]).T
        axes.errorbar(cell.value, y, xerr=ends, fmt="o", ms=4, color=FILLS[0], ecolor=MUTED, elinewidth=1, capsize=2)
        prior = data.cell(teacher, "grounding_side_prior/micro") if metric.startswith("grounding") else None
        if prior is not None and prior.value is not None:
            axes.plot(prior.value, y, marker="o", ms=4, mfc="white", mec=INK, ls="none")
    axes.set_title(label, fontsize=8.5, loc="left")
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))


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

    return _figure("pairs", draw, (7.5, 4.6), (4.4, 4.6))


def steps(data: Data) -> Figure | None:
    """Divergence along the reasoning with its band under constancy, and assertion density below."""
    views = [v for v in ("topic-aligned", "plain") if data.curve(v, "divergence")]
    if not views:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        grid = figure.subplots(2, len(views), squeeze=False, sharex="col", height_ratios=(2, 1))
        for column, view in enumerate(views):
            _curve(grid[0][column], grid[1][column], data, view)
        grid[0][0].set_ylabel("divergence (bits)")
        grid[1][0].set_ylabel("findings a step")
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=1 if narrow else 3)

    return _figure("steps", draw, (9, 4.4), (4.4, 5))


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
    for teacher in data.teachers:
        found = data.curve(view, "assertion density", teacher)
        if found:
            bottom.plot(found[0], found[1], color=MUTED, lw=0.9)
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
    return _figure("findings", draw, (7.5, 0.8 + 0.26 * n), (4.4, 0.9 + 0.26 * n))
