"""Fleiss' kappa on complete rows.

    kappa = (P - P_e) / (1 - P_e), P = mean_u sum_k n_uk (n_uk - 1) / (m (m - 1)), P_e = sum_k p_k^2

Source: J. L. Fleiss, Psychological Bulletin 1971;76:378. It needs the same number of ratings m for every unit, so units
with a missing rating are left out and counted.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, divide, matrix, undefined
from cxr_max.drift.stats.krippendorff_alpha import rating_counts


def terms(counts_UK: ArrayLike, n_coders: int) -> Floats:
    """Additive parts per unit: units x (2 + K) = 1 if complete, pair agreement, share of each category."""
    counts = matrix(counts_UK, "counts")
    complete = (counts.sum(axis=1) == n_coders) & (n_coders >= 2)
    pairs = divide((counts * (counts - 1)).sum(axis=1), n_coders * (n_coders - 1))
    parts = np.column_stack([np.ones(len(counts)), pairs, divide(counts, n_coders)])
    return np.where(complete[:, None], parts, 0.0)


def from_sums(sums: ArrayLike) -> Floats:
    """Kappa from summed `terms`, whose last axis is 2 + K; NaN where one category takes every rating."""
    array = np.asarray(sums, dtype=float)
    n = array[..., 0]
    observed = divide(array[..., 1], n)
    expected = (divide(array[..., 2:], n[..., None]) ** 2).sum(axis=-1)
    return divide(observed - expected, 1 - expected, tiny=1e-9)


def compute(ratings_UC: ArrayLike) -> Statistic:
    """Kappa of units x coders; units with a missing (NaN) rating are left out and counted."""
    ratings = matrix(ratings_UC, "ratings")
    counts = rating_counts(ratings)
    parts = terms(counts, ratings.shape[1])
    n = int(parts[:, 0].sum()) if len(parts) else 0
    if n == 0:
        return undefined("no complete row of two or more ratings", n_undefined=len(ratings))
    value = float(from_sums(parts.sum(axis=0)))
    if np.isnan(value):
        return undefined("every rating is the same, chance agreement is one", n=n, n_undefined=len(ratings) - n)
    return Statistic(value, n, len(ratings) - n)
