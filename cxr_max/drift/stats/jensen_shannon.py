"""Generalised Jensen-Shannon divergence of N distributions, in bits.

    JSD = H(mean_u p_u) - mean_u H(p_u), in [0, log2 N]

It is a divergence, not its square root: scipy's `jensenshannon` returns the root, in nats unless told otherwise, and
silently normalises counts. Source: J. Lin, IEEE Transactions on Information Theory 1991;37:145.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, divide, entropy_bits, undefined
from cxr_max.errors import DataError

SMOOTHING = 0.5
"""Added to each cell of a table of counts before it is normalised."""


def from_probabilities(p: ArrayLike) -> Floats:
    """JSD of probabilities with teachers on the second-last axis and cells on the last; NaN where any is NaN."""
    array = np.asarray(p, dtype=float)
    mixture = entropy_bits(array.mean(axis=-2)) - entropy_bits(array).mean(axis=-1)
    return np.where(np.isnan(array).any(axis=(-2, -1)), np.nan, np.maximum(mixture, 0.0))


def from_counts(counts: ArrayLike, *, smoothing: float = SMOOTHING) -> Floats:
    """JSD of counts with teachers on the second-last axis and cells on the last, `smoothing` added to each cell.

    A teacher without any count is left out; fewer than two teachers with counts give NaN.
    """
    array = np.asarray(counts, dtype=float)
    has = array.sum(axis=-1) > 0
    n = has.sum(axis=-1)
    raised = array + smoothing
    p = divide(raised, raised.sum(axis=-1, keepdims=True))
    p = np.where(has[..., None], p, 0.0)
    mean = divide(p.sum(axis=-2), n[..., None])
    value = entropy_bits(np.nan_to_num(mean)) - divide((entropy_bits(p) * has).sum(axis=-1), n)
    return np.where(n >= 2, np.maximum(value, 0.0), np.nan)


def compute(p_NK: ArrayLike) -> Statistic:
    """JSD of N >= 2 distributions over K cells.

    Raises:
        DataError: a row is negative or does not sum to one.
    """
    p = np.asarray(p_NK, dtype=float)
    if p.ndim != 2 or (p < 0).any() or not np.allclose(p.sum(axis=-1), 1, atol=1e-6):
        raise DataError("each row must be a probability distribution; use from_counts for counts")
    if len(p) < 2:
        return undefined("fewer than two teachers", n=len(p))
    return Statistic(float(from_probabilities(p)), len(p))
