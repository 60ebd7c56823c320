"""The prompt every teacher was sent, and the diagnoses it names.

The teachers were told the diagnoses: trajectories are rationalisations, no evidence of diagnostic skill.
"""

import re
from collections.abc import Sequence

TEMPLATE = (
    "This is a patient's chest DR image. The patient has been diagnosed with {diseases}. "
    "Can you find the basis for the diagnosis in the image?"
)
"""Printed in the paper's appendix, byte for byte."""

_NAMED = re.compile(r"diagnosed with\s+(?P<diseases>.+?)\.\s", re.DOTALL)
_BETWEEN = re.compile(r"\s*(?:,\s*and\s+|,|;|\band\b|&)\s*")


def render(diseases: Sequence[str]) -> str:
    """Put diagnoses into the paper's sentence: `a`, `a and b`, `a, b and c`."""
    head, last = list(diseases[:-1]), diseases[-1] if diseases else ""
    return TEMPLATE.format(diseases=f"{', '.join(head)} and {last}" if head else last)


def parse(prompt: str) -> tuple[str, ...] | None:
    """The diagnoses a prompt names, as spelled in it and in its order; None when the sentence is not found."""
    found = _NAMED.search(prompt + " ")
    if found is None:
        return None
    return tuple(d for d in (part.strip() for part in _BETWEEN.split(found["diseases"])) if d)
