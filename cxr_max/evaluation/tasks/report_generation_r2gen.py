"""Report generation as the R2Gen line scores it: FINDINGS of the test split, one sample an image, references cut.

Profile `r2gen` (cleaned, references cut to 99 words; no vocabulary file, so no word becomes <unk>) beside `clean` (not
cut). Cutting references raises scores; the two never stand in one column."""

from collections.abc import Sequence

from cxr_max.evaluation import report_generation
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC, READ = "report_generation_r2gen", "1", True, "report"
QUESTIONS, PROMPT = NAME, "report"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return report_generation.items(context, by_study=False)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """BLEU, ROUGE-L, METEOR, CIDEr, label F1, finding precision and recall, style."""
    return report_generation.measures(items, profiles=("r2gen", "clean"))
