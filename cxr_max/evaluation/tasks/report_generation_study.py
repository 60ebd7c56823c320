"""Report generation by study: FINDINGS of the test split, one sample a study with its frontal images, nothing cut."""

from collections.abc import Sequence

from cxr_max.evaluation import report_generation
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC, READ = "report_generation_study", "1", True, "report"
QUESTIONS, PROMPT = NAME, "report"
SECTION = "findings"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return report_generation.items(context, by_study=True)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """BLEU, ROUGE-L, METEOR, CIDEr, label F1, finding precision and recall, style."""
    return report_generation.measures(items, profiles=("clean",))
