"""ChestX-Det10: ten classes, image level, on the test file; macro AUC of yes-or-no questions."""

from collections.abc import Sequence

from cxr_max.evaluation import zero_shot
from cxr_max.evaluation.sets import chestx_det10
from cxr_max.evaluation.sets.files import images
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "zero_shot_chestx_det10", "2", False
QUESTIONS, PROMPT = NAME, "presence"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    places = context.paths(chestx_det10.ROOT)
    labels, files = chestx_det10.labels(places), images(places)
    return zero_shot.load(context, labels, chestx_det10.CLASSES, file_of=lambda row: files.get(row["image"]))


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """AUC of each class."""
    return zero_shot.measures(items, read)
