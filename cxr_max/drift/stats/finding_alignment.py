"""Finding precision and recall of many trajectories at once: two-way entailment between sets of findings.

    P_i = |{p in C_i : R_i entails p}| / |C_i|,  R_i = |{r in R_i : C_i entails r}| / |R_i|,  0/0 = NaN

A finding entails another of the same concept and status whose side and zone are open or equal. The teacher's value is
the mean over studies of the defined ones (macro, RadFact: S. Bannur et al., arXiv 2406.04449) or pooled (micro). This
is the form for arrays of bits; `cxr_max.findings.alignment` states the same for one pair.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift.bits import Sets, Words, count
from cxr_max.drift.stats._common import Floats, divide

Counts = NDArray[np.int32]


class Overlap(NamedTuple):
    """Counts per row: entailed and all findings of candidate (`_c`) and reference (`_r`)."""

    entailed_c: Counts
    n_c: Counts
    entailed_r: Counts
    n_r: Counts

    @property
    def precision(self) -> Floats:
        """Per row, NaN without a candidate finding."""
        return divide(self.entailed_c, self.n_c)

    @property
    def recall(self) -> Floats:
        """Per row, NaN without a reference finding."""
        return divide(self.entailed_r, self.n_r)


def compute(candidate: Sets, reference: Sets, *, mask: Words | None = None) -> Overlap:
    """Counts for rows of candidates against rows of references.

    Args:
        candidate: one row per trajectory.
        reference: one row per trajectory, or one row for all.
        mask: keep these cells only, on both sides; rows or one row.
    """
    own_c, own_r = candidate.own, reference.own
    if mask is not None:
        own_c, own_r = own_c & mask, own_r & mask
    rows = max(len(own_c), len(own_r))
    parts = (count(own_c & reference.entailed), count(own_c), count(own_r & candidate.entailed), count(own_r))
    return Overlap(*(np.broadcast_to(p, (rows,)) for p in parts))


def harmonic(precision: Floats, recall: Floats) -> Floats:
    """2 P R / (P + R) of mean precision and mean recall; 0 when both are 0, NaN when either is NaN."""
    total = precision + recall
    return np.where(total == 0, 0.0, divide(2 * precision * recall, total))
