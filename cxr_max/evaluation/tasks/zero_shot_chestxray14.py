"""ChestX-ray14: 14 classes on the official test list; macro AUC of yes-or-no questions."""

from collections.abc import Sequence

from cxr_max.evaluation import zero_shot
from cxr_max.evaluation.sets import chestxray14
from cxr_max.evaluation.sets.files import images
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "zero_shot_chestxray14", "2", False
QUESTIONS, PROMPT = NAME, "presence"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    places = context.paths(chestxray14.ROOT)
    labels, files = chestxray14.labels(places), images(places)
    return zero_shot.load(context, labels, chestxray14.CLASSES, file_of=lambda row: files.get(row["image"]))


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """AUC of each class."""
    return zero_shot.measures(items, read)
