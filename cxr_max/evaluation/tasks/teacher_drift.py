"""Teacher drift: the student's own reasoning on the release's test images, asked without diagnoses.

Its drift events beside those of the mixture of teachers, who were told the diagnoses; `teacher_drift_given_dx` asks the
student what they were asked. With `--truth`, also the suppression of planted wrong clauses; see `metrics.suppression`.
"""

from collections.abc import Sequence
from pathlib import Path

from cxr_max.evaluation import ask, teacher_drift
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "teacher_drift", "1", True
QUESTIONS, PROMPT = NAME, "reason"
SECTION, HEADLINE = "findings and impression", teacher_drift.HEADLINE


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return teacher_drift.items(context, ask.question(PROMPT))


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Drift events with the mixture's, and suppression."""
    return teacher_drift.measures(items)


def write(items: Sequence[Item], context: Context, out: Path, *, draws: int, seed: int) -> None:
    """The drift report with the student in it."""
    teacher_drift.write(items, context, out, draws=draws, seed=seed)
