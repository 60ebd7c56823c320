"""Diagnoses and reasoning on the test split of a synthetic release, graded by the truth of its world.

Reported; nothing is chosen by it.
"""

from collections.abc import Sequence

from cxr_max.evaluation import diagnosis
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "diagnosis_test", "1", True
QUESTIONS = NAME


def load(context: Context) -> list[Item]:
    """One question a frontal image of the split."""
    return diagnosis.items(context, "test")


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy of five findings, claims of the reasoning against the truth, style."""
    return diagnosis.measures(items)
