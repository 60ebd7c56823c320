"""Teacher drift: the student's reasoning on the release's test images, asked what the teachers were asked.

The prompt names the diagnoses, so this is no evidence of diagnostic skill: the echo baseline stands beside it.
"""

from collections.abc import Sequence
from pathlib import Path

from cxr_max.evaluation import teacher_drift
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "teacher_drift_given_dx", "1", True
QUESTIONS = NAME
SECTION, HEADLINE = "findings and impression", teacher_drift.HEADLINE


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return teacher_drift.items(context, None)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Drift events with the mixture's, and suppression."""
    return teacher_drift.measures(items)


def write(items: Sequence[Item], context: Context, out: Path, *, draws: int, seed: int) -> None:
    """The drift report with the student in it."""
    teacher_drift.write(items, context, out, draws=draws, seed=seed)
