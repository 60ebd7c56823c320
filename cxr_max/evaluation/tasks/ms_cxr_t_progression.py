"""MS-CXR-T: improving, stable or worsening on pairs of images; macro-accuracy per finding, then the mean of five.

Chance is 1/3. Another task than presence: the two never stand in one column. Source: BioViL-T (arXiv 2301.04558).
"""

from collections.abc import Sequence

from cxr_max.evaluation import ms_cxr_t
from cxr_max.evaluation.sets.ms_cxr_t import PROGRESSIONS
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "ms_cxr_t_progression", "1", True
QUESTIONS, PROMPT = "ms_cxr_t_progression", "progression"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    return ms_cxr_t.progression(context)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Macro-accuracy, accuracy and abstention of each finding."""
    return ms_cxr_t.by_finding(items, read, PROGRESSIONS)
