"""CheXpert: five competition classes on the 500 test studies (or the validation set); macro AUC."""

from collections.abc import Sequence

from cxr_max.evaluation import zero_shot
from cxr_max.evaluation.sets import chexpert
from cxr_max.evaluation.sets.files import images
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "zero_shot_chexpert", "2", False
QUESTIONS, PROMPT = NAME, "presence"


def load(context: Context) -> list[Item]:
    """All questions with their truth."""
    places = context.paths(chexpert.ROOT)
    labels, files = chexpert.labels(places), images(places, parts=3)
    return zero_shot.load(
        context, labels, chexpert.CLASSES, file_of=lambda row: chexpert.view(row["study"], files), name="study"
    )


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """AUC of each class."""
    return zero_shot.measures(items, read)
