"""What figures share: title and caption from `captions.toml`, names of teachers on an axis, intervals."""

import tomllib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from cxr_max.drift.page.data import Cell, Data
from cxr_max.drift.page.draw import INK, Figure, short


def words(figure: str, key: str) -> str:
    """A text of a figure."""
    text = resources.files("cxr_max.drift.page").joinpath("captions.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)[figure][key])


def made(
    name: str, draw: Callable[[Any, bool], None], wide: tuple[float, float], narrow: tuple[float, float], **filled: Any
) -> Figure:
    """A figure with its title and its caption, whose braces are filled."""
    return Figure(name, words(name, "title"), words(name, "caption").format(**filled), draw, wide, narrow)


def names(axes: Any, teachers: Sequence[str]) -> None:
    """Teachers from top to bottom."""
    axes.set_yticks(range(len(teachers)), [short(Data.display(t)) for t in teachers])
    axes.set_ylim(len(teachers) - 0.5, -0.5)


def interval(axes: Any, cell: Cell, y: float, cap: float) -> None:
    """Whiskers in ink on a white edge, so that they show on dark bars and on paper."""
    if cell.low is None or cell.high is None:
        return
    parts = ([cell.low, cell.high], [y, y]), *(([x, x], [y - cap, y + cap]) for x in (cell.low, cell.high))
    for color, width in (("white", 3.2), (INK, 1.1)):
        for x, ys in parts:
            axes.plot(x, ys, color=color, lw=width, solid_capstyle="butt", zorder=4)
