"""Gwet's AC1: chance-corrected agreement that does not collapse at extreme prevalence.

    AC1 = (p_o - p_e) / (1 - p_e), p_e = sum_k pi_k (1 - pi_k) / (K - 1)

with p_o the mean pair agreement of units with two ratings or more and pi_k the mean share of category k over units with
a rating. Source: K. L. Gwet, British Journal of Mathematical and Statistical Psychology 2008;61:29.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, divide, matrix, undefined
from cxr_max.drift.stats.krippendorff_alpha import rating_counts


def terms(counts_UK: ArrayLike) -> Floats:
    """Additive parts per unit: units x (3 + K) = has a pair, its pair agreement, has a rating, share per category."""
    counts = matrix(counts_UK, "counts")
    m = counts.sum(axis=1)
    agreement = divide((counts * (counts - 1)).sum(axis=1), m * (m - 1))
    return np.column_stack(
        [m >= 2, np.where(m >= 2, agreement, 0.0), m >= 1, np.nan_to_num(divide(counts, m[:, None]))]
    ).astype(float)


def from_sums(sums: ArrayLike) -> Floats:
    """AC1 from summed `terms`, whose last axis is 3 + K with K the number of possible categories (two or more)."""
    array = np.asarray(sums, dtype=float)
    observed = divide(array[..., 1], array[..., 0])
    shares = divide(array[..., 3:], array[..., 2, None])
    expected = divide((shares * (1 - shares)).sum(axis=-1), max(shares.shape[-1] - 1, 0))
    return divide(observed - expected, 1 - expected)


def compute(ratings_UC: ArrayLike, *, n_categories: int | None = None) -> Statistic:
    """AC1 of units x coders, NaN = missing.

    Args:
        ratings_UC: categories as numbers.
        n_categories: categories that were possible; those that occur (at least two) when None.
    """
    counts = rating_counts(ratings_UC)
    wanted = max(n_categories or 2, counts.shape[1])
    counts = np.pad(counts, ((0, 0), (0, wanted - counts.shape[1])))
    n = int((counts.sum(axis=1) >= 2).sum())
    if n == 0:
        return undefined("no unit has two ratings", n_undefined=len(counts))
    return Statistic(float(from_sums(terms(counts).sum(axis=0))), n, len(counts) - n)
