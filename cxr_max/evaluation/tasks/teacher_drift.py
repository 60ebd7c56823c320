"""Teacher drift: the student's own reasoning on the release's test images, asked without diagnoses.

Its drift events beside those of the mixture of teachers, who were told the diagnoses; `teacher_drift_given_dx` asks the
student what they were asked. With `--truth`, also the suppression of planted wrong clauses; see `metrics.suppression`.

Base, SFT and APO are three runs of one command, and stand side by side, with intervals, a figure and paired
differences, by a second one:

    cxr-max eval --model hf --model-args model=RUN/sft/final,temperature=1 --tasks teacher_drift --release RELEASE
                 --truth WORLD/truth --mimic-root WORLD/mimic --out runs/sft
    cxr-max compare runs/base runs/sft runs/apo --out compared

Draw the answers (`temperature=1`): what the student's rates are held against is expected of a text drawn from the
mixture, and a student's likeliest text is another thing. `benchmarks/teacher_drift_students.py` does all of it.
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
    """Drift events with the mixture's, claims against the report, and suppression."""
    return teacher_drift.measures(items)


def write(items: Sequence[Item], context: Context, out: Path, *, draws: int, seed: int) -> None:
    """The drift report with the student in it."""
    teacher_drift.write(items, context, out, draws=draws, seed=seed)
