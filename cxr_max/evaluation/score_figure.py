"""The scores of one run as a picture: value and interval of each task's headline scores; the rest is in the table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.drift.page.draw import INK, Figure, short, whiskers

SHOWN = ("all", "mean")
"""Groups that stand for a task; a task that has neither shows its first."""


def picture(rows: Sequence[dict[str, Any]], title: str) -> Figure | None:
    """One panel a task and subset, one line a score; None when no score is defined.

    Args:
        rows: of `scores.json`, what is suppressed left out.
        title: the model, and that data are synthetic where they are.
    """
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if "suppressed" not in row and row.get("better") and not np.isnan(row["value"]):
            panels.setdefault((row["task"], row["subset"]), []).append(row)
    chosen = {place: _headlines(mine) for place, mine in panels.items()}
    if not chosen:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        heights = [len(mine) + 1 for mine in chosen.values()]
        axes = figure.subplots(len(chosen), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, ((task, subset), mine) in zip(axes, chosen.items(), strict=True):
            for y, row in enumerate(mine):
                low, high = (None if np.isnan(row[k]) else row[k] for k in ("low", "high"))
                below, above = whiskers(low, high, row["value"])
                ax.errorbar(row["value"], y, xerr=[[below], [above]], fmt="o", color=INK, capsize=3)
            ax.set_yticks(range(len(mine)), [short(row["score"]) for row in mine])
            ax.set_ylim(len(mine) - 0.5, -0.5)
            ax.set_title(f"{task}, {subset}, n = {mine[0]['n']}", loc="left", fontsize=9)
        figure.suptitle(title, fontsize=10)

    height = 0.8 + sum(0.3 * len(mine) + 0.6 for mine in chosen.values())
    return Figure("table", title, "Value and 95 % interval.", draw, (7, height), (4.4, height))


def _headlines(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a score: the mean over groups, or the whole, or the first."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: r["group"] not in SHOWN):
        found.setdefault(row["score"], row)
    order = list(dict.fromkeys(row["score"] for row in rows))
    return [found[score] for score in order]
