"""On which side is the effusion? Asked about images of a synthetic world with an effusion on one side only.

The prompt names the finding, so the name ends in `_given_dx`; the truth is what is in the simulated patient.
"""

from collections.abc import Sequence
from dataclasses import replace

from cxr_max.evaluation import ask, diagnosis
from cxr_max.evaluation.types import Context, Item, Measure

NAME, VERSION, MIMIC = "effusion_side_given_dx", "1", True
QUESTIONS = NAME
SIDES = ("left", "right")
PROMPT_TEXT = "This is a patient's chest DR image. It shows a pleural effusion. On which side? Answer left or right."


def load(context: Context) -> list[Item]:
    """One question a frontal test image with a one-sided effusion."""
    items = []
    for item in diagnosis.items(context, "test"):
        sides = {side for label, side in item.target if label == "Pleural Effusion"}
        if len(sides) == 1 and sides <= set(SIDES):
            sample = replace(item.sample, prompt=PROMPT_TEXT, options=SIDES)
            items.append(replace(item, sample=sample, target=sides.pop(), group="Pleural Effusion"))
    return items


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy over both sides: .5 is chance."""
    return [ask.accuracy_measure(items, "Pleural Effusion", read, SIDES)]
