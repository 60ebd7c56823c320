"""Presence of five findings on the current image of each MS-CXR-T pair, definition `strict`.

Present = CheXpert 1, absent = CheXpert 0; uncertain and not mentioned are left out.
Not a reproduction of any published number: MS-CXR-T holds progression only, and the paper does not say which truth it
used.
"""

from collections.abc import Sequence

from cxr_max.evaluation import ask, ms_cxr_t
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "ms_cxr_t_presence_strict", "1", True
QUESTIONS, PROMPT = "ms_cxr_t_presence", "presence"


def gold(label: int | None, progression: str | None) -> int | None:
    """The truth of one finding on one image; None = left out."""
    return label if label in (0, 1) else None


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return ms_cxr_t.presence(context, gold)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy, accuracy and abstention of each finding."""
    return ms_cxr_t.by_finding(items, read, ask.YES_NO)
