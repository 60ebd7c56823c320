"""Report generation as the R2Gen line scores it: FINDINGS of the test split, one sample an image, references cut.

Profile `r2gen` (cleaned, references cut to 99 words) beside `clean` (not cut). Cutting references raises scores; the
two never stand in one column.

R2Gen also replaces words its training reports have fewer than ten times by <unk>, in answers and references alike,
which raises scores too. That needs those reports, so it is an option, and the vocabulary's hash stands in the
signature:

    --task-args vocabulary=train                      words of the train split's FINDINGS under --mimic-root
    --task-args vocabulary=annotation.json            the same of R2Gen's own file; any text file = a list of words
    --task-args vocabulary=train,min_count=3          R2Gen's threshold for IU X-ray
"""

from collections.abc import Sequence

from cxr_max.evaluation import report_generation
from cxr_max.evaluation.types import Context, Item, Measure
from cxr_max.evaluation.vocabulary import Vocabulary

NAME, VERSION, MIMIC, READ = "report_generation_r2gen", "1", True, "report"
QUESTIONS, PROMPT = NAME, "report"
SECTION = "findings"
OPTIONS, settings = report_generation.OPTIONS, report_generation.settings


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return report_generation.items(context, by_study=False)


def measures(items: Sequence[Item], read: str, *, vocabulary: Vocabulary | None = None) -> list[Measure]:
    """BLEU, ROUGE-L, METEOR, CIDEr, label F1, finding precision and recall, style."""
    return report_generation.measures(items, profiles=("r2gen", "clean"), vocabulary=vocabulary)
