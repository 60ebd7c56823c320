"""Tasks, one file each: questions with their truth, and which measures their answers give.

A task module defines

    NAME        what stands in tables; ends in `_given_dx` when the prompt names diagnoses, and then the echo baseline
                is graded beside the model
    QUESTIONS   name of the question set; tasks that ask the same questions share their answers
    VERSION     changes whenever a score may change
    READ        optional: how its answers are read, when not by what they are (`report`)
    SECTION     optional: the part of the reports that is the reference, for the signature
    HEADLINE    optional: the scores a comparison decides about first; without it the first that `measures` gives
    OPTIONS     optional: names of options, with settings(context) -> what they mean as keyword arguments of `measures`;
                they change how answers are graded, never what is asked
    MIMIC       whether its samples are MIMIC-CXR images, so that overlap with training data matters
    load(context) -> list of Item, every question with its truth
    measures(items, read) -> list of Measure

and may define write(items, context, out, *, draws, seed), which grading calls to put a report of its own into `out`.
Prompts are files in `evaluation/questions/`; their hash stands in the signature.
"""

from typing import Any

from cxr_max.plugins import Registry
from cxr_max.settings import pairs

REGISTRY = Registry("task", __name__, "cxr_max.tasks", ("NAME", "QUESTIONS", "VERSION", "MIMIC", "load", "measures"))


def parse_task_args(text: str) -> dict[str, str]:
    """`name=value,...` as a dict.

    Raises:
        UsageError: a part without `=`, or a name given twice.
    """
    return pairs(text.split(","), "--task-args")


def names() -> tuple[str, ...]:
    """Names of all tasks, ours and those of installed packages."""
    return REGISTRY.names()


def get(name: str) -> Any:
    """A task module by name, or by the path of a Python file.

    Raises:
        UnknownNameError: no such task; the known ones are listed.
    """
    return REGISTRY.get(name)
