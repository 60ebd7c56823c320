"""Report generation of protocol `r2gen` with the study's CheXpert diagnoses in the prompt.

The diagnoses come from the very report that is the reference: the echo baseline, which repeats them without an image,
stands beside every score.
"""

from collections.abc import Sequence

from cxr_max.evaluation import report_generation
from cxr_max.evaluation.types import Context, Item, Measure
from cxr_max.evaluation.vocabulary import Vocabulary

NAME, VERSION, MIMIC, READ = "report_generation_r2gen_given_dx", "1", True, "report"
QUESTIONS, PROMPT = NAME, "report_given_dx"
SECTION = "findings"
OPTIONS, settings = report_generation.OPTIONS, report_generation.settings


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return report_generation.items(context, by_study=False, given_dx=True)


def measures(items: Sequence[Item], read: str, *, vocabulary: Vocabulary | None = None) -> list[Measure]:
    """BLEU, ROUGE-L, METEOR, CIDEr, label F1, finding precision and recall, style."""
    return report_generation.measures(items, profiles=("r2gen", "clean"), vocabulary=vocabulary)
