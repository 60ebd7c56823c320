"""Open-I: 18 classes by substring on the automatic MeSH terms (CARZero's protocol); macro AUC."""

from collections.abc import Sequence

from cxr_max.evaluation import zero_shot
from cxr_max.evaluation.sets import open_i
from cxr_max.evaluation.sets.files import images
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "zero_shot_open_i", "2", False
QUESTIONS, PROMPT = NAME, "presence"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    places = context.paths(open_i.ROOT)
    labels, files = open_i.labels(places), images(places)
    return zero_shot.load(context, labels, open_i.CLASSES, file_of=lambda row: files.get(row["image"]))


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """AUC of each class."""
    return zero_shot.measures(items, read)
