"""Grounding: does the teacher put a prompted diagnosis on the side where the report has it?

The prompt names the disease but not its side, so the side is evidence of looking. Counted are prompted concepts that
the report asserts on exactly one side and the teacher asserts on exactly one side; .5 is chance, and the more frequent
side of the concept over all reports is what a blind teacher could reach.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr_max.drift.stats._common import Floats, divide

Booleans = NDArray[np.bool_]


class Grounding(NamedTuple):
    """Per row and concept: `eligible` (reference one-sided and prompted), `answered` (teacher one-sided), `correct`."""

    eligible: Booleans
    answered: Booleans
    correct: Booleans

    @property
    def accuracy(self) -> float:
        """Correct among answered; NaN when nothing was answered."""
        return float(divide(self.correct.sum(), self.answered.sum()))


def compute(candidate_TKS: ArrayLike, reference_TKS: ArrayLike, prompted_TK: ArrayLike) -> Grounding:
    """Sides of prompted concepts.

    Args:
        candidate_TKS: rows x concepts x (left, right), asserted present, bool.
        reference_TKS: the same of the report.
        prompted_TK: whether the prompt names the concept.
    """
    candidate, reference = np.asarray(candidate_TKS, dtype=bool), np.asarray(reference_TKS, dtype=bool)
    eligible = np.asarray(prompted_TK, dtype=bool) & (reference[..., 0] ^ reference[..., 1])
    answered = eligible & (candidate[..., 0] ^ candidate[..., 1])
    return Grounding(eligible, answered, answered & (candidate[..., 0] == reference[..., 0]))


def side_prior(reference_RKS: ArrayLike) -> Floats:
    """Share of the more frequent side per concept among one-sided references; NaN where there is none."""
    reference = np.asarray(reference_RKS, dtype=bool)
    left = (reference[..., 0] & ~reference[..., 1]).sum(axis=0)
    right = (reference[..., 1] & ~reference[..., 0]).sum(axis=0)
    return divide(np.maximum(left, right), left + right)
