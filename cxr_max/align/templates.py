"""What the student is asked and how its answer is written; always chosen by name, there is no default.

`rationale`: the prompt the teachers were sent, diagnoses included; the answer is a trajectory. `diagnose`: a question
without the diagnoses; the answer is the trajectory between `<think>` and `</think>`, then the diagnoses. `name`: a
question for the diagnoses alone, and no trajectory in the answer; it teaches a student with random weights to see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cxr_max import prompts
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import DataError, UnknownNameError

QUESTION = "This is a patient's chest DR image. Which diagnoses does the image show? Reason first, then name them."
NAME_QUESTION = "This is a patient's chest DR image. Name the diagnoses."
ANSWER = "Diagnoses: "


class Completion(NamedTuple):
    """One written answer.

    Attributes:
        text: all of it, without the end of the turn.
        trajectory_start: character at which the trajectory starts.
        answer_start: character at which the diagnoses start, or None when the template prints none.
    """

    text: str
    trajectory_start: int
    answer_start: int | None


@dataclass(frozen=True)
class Template:
    """A way to write a group: `question(group)` and `completion(group, column)`."""

    name: str
    question: Callable[[PreferenceGroup], str]
    completion: Callable[[PreferenceGroup, int], Completion]


def named_diagnoses(diseases: tuple[str, ...]) -> str:
    """How `diagnose` prints diagnoses: joined by commas, in the order given.

    Raises:
        DataError: there is none to print.
    """
    if not diseases:
        raise DataError(
            "the instance names no diagnoses, which template diagnose prints", next="use template rationale"
        )
    return ANSWER + ", ".join(diseases) + "."


def _rationale_question(group: PreferenceGroup) -> str:
    return group.prompt if group.prompt is not None else prompts.render(group.diseases)


def _rationale(group: PreferenceGroup, column: int) -> Completion:
    return Completion(group.completions[column], 0, None)


def _diagnose_question(_group: PreferenceGroup) -> str:
    return QUESTION


def _diagnose(group: PreferenceGroup, column: int) -> Completion:
    opening = "<think>"
    thought = f"{opening}{group.completions[column]}</think>\n"
    diseases = group.answers[column] if group.answers is not None else group.diseases
    return Completion(thought + named_diagnoses(diseases), len(opening), len(thought))


def _name_question(_group: PreferenceGroup) -> str:
    return NAME_QUESTION


def _name(group: PreferenceGroup, column: int) -> Completion:
    diseases = group.answers[column] if group.answers is not None else group.diseases
    return Completion(named_diagnoses(diseases), 0, 0)


TEMPLATES: dict[str, Template] = {
    t.name: t
    for t in (
        Template("rationale", _rationale_question, _rationale),
        Template("diagnose", _diagnose_question, _diagnose),
        Template("name", _name_question, _name),
    )
}


def get(name: str) -> Template:
    """A template by name.

    Raises:
        UnknownNameError: no such template.
    """
    if name not in TEMPLATES:
        raise UnknownNameError.of("template", name, TEMPLATES)
    return TEMPLATES[name]
