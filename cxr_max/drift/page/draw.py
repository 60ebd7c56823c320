"""Style shared by all figures: readable in greyscale, fonts as outlines, the same bytes for the same numbers."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cxr_max.optional import require

INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#d9d9d9"
FILLS = ("#12355b", "#5b8db8", "#d6e4f0")
HATCHES = ("", "", "////")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
LABEL = 22
"""Longest label drawn, in characters; what is cut is complete in the tables."""


@dataclass(frozen=True)
class Figure:
    """One figure in two widths.

    Attributes:
        name: file name without suffix.
        title: what it shows, one line.
        caption: how to read it, with the counts that matter.
        draw: draws on a matplotlib figure; called once for each width.
        wide: inches, width and height of the wide form.
        narrow: of the narrow form, for small screens.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Any, bool], None]
    wide: tuple[float, float]
    narrow: tuple[float, float]


@contextmanager
def _style() -> Iterator[None]:
    matplotlib = require("matplotlib", extra="drift")
    settings = {
        "svg.fonttype": "path", "svg.hashsalt": "cxr-max", "font.family": "DejaVu Sans", "font.size": 9,
        "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
        "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "xtick.color": INK,
        "ytick.color": INK, "text.color": INK, "hatch.linewidth": 0.5, "legend.frameon": False,
        # A label is text, never a formula.
        "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def render(figure: Figure, kind: str, *, narrow: bool = False) -> bytes:
    """Draw a figure as `svg` or `png`; the same figure gives the same bytes."""
    with _style():
        made = require("matplotlib.figure", extra="drift").Figure(
            figsize=figure.narrow if narrow else figure.wide, layout="constrained"
        )
        figure.draw(made, narrow)
        out = io.BytesIO()
        metadata = {"Date": None, "Creator": "cxr-max"} if kind == "svg" else {"Software": "cxr-max"}
        made.savefig(out, format=kind, dpi=160, metadata=metadata)
    return out.getvalue()


def inline(figure: Figure, *, narrow: bool, drawn: bytes | None = None) -> str:
    """The figure as SVG to stand inside a page: ids made unique, no XML head, scaled to its container.

    Args:
        figure: what to draw.
        narrow: in which form.
        drawn: `render(figure, "svg", narrow=narrow)`, when it is at hand.
    """
    text = (drawn or render(figure, "svg", narrow=narrow)).decode()
    text = text[text.index("<svg") :]
    prefix = f"{figure.name}-{'n' if narrow else 'w'}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(xlink:href="|href="|url\()#', rf"\1#{prefix}", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head = r'<svg viewBox="\1" role="img" aria-hidden="true">'
    return re.sub(r'<svg\b[^>]*?viewBox="([^"]+)"[^>]*>', head, text, count=1)


def short(text: str) -> str:
    """A label for a figure: control and direction marks out, cut to `LABEL` characters."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * LABEL])
    return plain if len(plain) <= LABEL and len(text) <= 4 * LABEL else plain[: LABEL - 1] + "…"


def whiskers(low: float | None, high: float | None, value: float) -> tuple[float, float]:
    """Lengths of an interval below and above a value; 0 where it is undefined."""
    return (0.0 if low is None else max(value - low, 0.0), 0.0 if high is None else max(high - value, 0.0))
