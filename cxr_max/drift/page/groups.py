"""Figures of intervals side by side: subgroups, and change against an older release."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxr_max.drift.page.data import Data, cell
from cxr_max.drift.page.draw import FILLS, INK, MARKERS, MUTED, Figure, short, whiskers
from cxr_max.drift.page.marks import made, names

GROUP_WORDS = {"n_diseases": "diseases", "single_disease": "one disease"}
SHOWN = {"change of precision": "precision", "change of recall": "recall", "change of n_words": "words"}
MOST_GROUPS = 14


def subgroups(data: Data) -> Figure | None:
    """Precision and recall of each teacher in each subgroup."""
    found = [r for r in data.subgroups() if r["metric"] in ("precision", "recall") and r["value"] is not None]
    kinds = list(dict.fromkeys(r["by"] for r in found))
    if not kinds:
        return None
    groups = {by: list(dict.fromkeys(str(r["group"]) for r in found if r["by"] == by))[:MOST_GROUPS] for by in kinds}

    def draw(figure: Any, narrow: bool) -> None:
        heights = [len(groups[by]) + 0.5 for by in kinds]
        grid = figure.subplots(len(kinds), 2, squeeze=False, sharey="row", sharex=True, height_ratios=heights)
        for axes_row, by in zip(grid, kinds, strict=True):
            for axes, metric in zip(axes_row, ("precision", "recall"), strict=True):
                _group_panel(axes, data, groups[by], [r for r in found if (r["by"], r["metric"]) == (by, metric)])
            axes_row[0].set_ylabel(GROUP_WORDS.get(by, by))
        grid[0][0].set_title("precision", fontsize=9, loc="left")
        grid[0][1].set_title("recall", fontsize=9, loc="left")
        named = grid[0][0].get_legend_handles_labels()
        figure.legend(*named, loc="outside upper center", ncols=2 if narrow else 4, fontsize=8)

    n = sum(map(len, groups.values()))
    return made("subgroups", draw, (9, 1.6 + 0.6 * n), (4.4, 2.2 + 0.6 * n))


def _group_panel(axes: Any, data: Data, groups: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    for k, teacher in enumerate(data.teachers):
        at = {str(r["group"]): cell(r) for r in rows if r["teacher"] == teacher}
        shift = (k - (len(data.teachers) - 1) / 2) * 0.8 / len(data.teachers)
        places = [(y + shift, at[g]) for y, g in enumerate(groups) if g in at]
        if places:
            ends = np.array([whiskers(c.low, c.high, c.value or 0.0) for _, c in places]).T
            axes.errorbar(
                [c.value for _, c in places], [y for y, _ in places], xerr=ends, ls="none", ms=4, mfc="white",
                marker=MARKERS[k % len(MARKERS)], color=INK if k % 2 else MUTED, elinewidth=0.9,
                label=short(data.display(teacher)),
            )  # fmt: skip
    for y in range(1, len(groups)):
        axes.axhline(y - 0.5, color="#d9d9d9", lw=0.6)
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(groups)), [short(g) for g in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)


def changes(data: Data) -> Figure | None:
    """What changed against the older release, per teacher, one panel a figure."""
    found = [r for r in data.changes() if r["metric"] in SHOWN and r["value"] is not None]
    panels = [m for m in SHOWN if any(r["metric"] == m for r in found)]
    if not panels:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        rows, columns = (len(panels), 1) if narrow else (1, len(panels))
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, metric in zip(grid.flat, panels, strict=True):
            at = {r["teacher"]: cell(r) for r in found if r["metric"] == metric}
            for y, teacher in enumerate(data.teachers):
                if teacher in at:
                    ends = np.array([whiskers(at[teacher].low, at[teacher].high, at[teacher].value or 0.0)]).T
                    look = {"fmt": "o", "ms": 5, "color": FILLS[0], "ecolor": INK, "capsize": 2.5}
                    axes.errorbar(at[teacher].value, y, xerr=ends, **look)
            axes.axvline(0, color=INK, lw=0.8)
            axes.set_title(f"{SHOWN[metric]}, new minus old", fontsize=9, loc="left")
            axes.locator_params(axis="x", nbins=4)
            names(axes, data.teachers)

    n = len(data.teachers)
    return made("changes", draw, (9, 1.0 + 0.26 * n), (4.4, (0.9 + 0.24 * n) * len(panels)))
