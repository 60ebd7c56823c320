"""Report generation of protocol `study` with the study's CheXpert diagnoses in the prompt.

The diagnoses come from the very report that is the reference: the echo baseline, which repeats them without an image,
stands beside every score.
"""

from collections.abc import Sequence

from cxr_max.evaluation import report_generation
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC, READ = "report_generation_study_given_dx", "1", True, "report"
QUESTIONS, PROMPT = NAME, "report_given_dx"
SECTION = "findings"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return report_generation.items(context, by_study=True, given_dx=True)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """BLEU, ROUGE-L, METEOR, CIDEr, label F1, finding precision and recall, style."""
    return report_generation.measures(items, profiles=("clean",))
