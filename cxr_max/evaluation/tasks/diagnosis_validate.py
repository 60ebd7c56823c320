"""Diagnoses and reasoning on the validate split of a synthetic release, graded by the truth of its world.

Settings and checkpoints may be chosen by it; nothing is reported from it.
"""

from collections.abc import Sequence

from cxr_max.evaluation import diagnosis
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "diagnosis_validate", "1", True
QUESTIONS = NAME


def load(context: Context) -> list[Item]:
    """One question a frontal image of the split."""
    return diagnosis.items(context, "validate")


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy of five findings, claims of the reasoning against the truth, style."""
    return diagnosis.measures(items)
