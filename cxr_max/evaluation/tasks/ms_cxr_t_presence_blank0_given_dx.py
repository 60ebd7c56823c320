"""Presence of five findings, definition `blank0`, with the study's CheXpert diagnoses in the prompt.

The prompt may hold the answer: the echo baseline, which repeats it without an image, stands beside every score.
"""

from collections.abc import Sequence

from cxr_max.evaluation import ask, ms_cxr_t
from cxr_max.evaluation.tasks.ms_cxr_t_presence_blank0 import gold
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "ms_cxr_t_presence_blank0_given_dx", "1", True
QUESTIONS, PROMPT = "ms_cxr_t_presence_given_dx", "presence_given_dx"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return ms_cxr_t.presence(context, gold, given_dx=True)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy, accuracy and abstention of each finding."""
    return ms_cxr_t.by_finding(items, read, ask.YES_NO)
