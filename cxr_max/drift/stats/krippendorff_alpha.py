"""Krippendorff's alpha for nominal data with missing ratings.

    alpha = 1 - D_o / D_e,  D_o = 1 - (1/n) sum_u sum_k n_uk (n_uk - 1) / (m_u - 1),
    D_e = 1 - sum_k n_k (n_k - 1) / (n (n - 1))

over units with m_u >= 2 ratings, n = sum m_u. Source: K. Krippendorff, Content Analysis (2004), chapter 11;
preferred to Fleiss' kappa under missing ratings (Zapf et al., BMC Med Res Methodol 2016;16:93).
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, divide, matrix, undefined


def rating_counts(ratings_UC: ArrayLike) -> Floats:
    """Ratings per unit and category.

    Args:
        ratings_UC: units x coders, any numbers as categories, NaN = missing.

    Returns:
        units x categories, in the order of the sorted categories.
    """
    ratings = matrix(ratings_UC, "ratings")
    categories = np.unique(ratings[~np.isnan(ratings)])
    return (
        np.stack([(ratings == c).sum(axis=1) for c in categories], axis=1).astype(float)
        if len(categories)
        else (np.zeros((len(ratings), 0)))
    )


def terms(counts_UK: ArrayLike) -> Floats:
    """Additive parts per unit, to be summed over units (or over resampled patients).

    Args:
        counts_UK: ratings per unit and category.

    Returns:
        units x (1 + K): agreeing pairs over m - 1, then the counts; zeros where a unit has fewer than two ratings.
    """
    counts = matrix(counts_UK, "counts")
    m = counts.sum(axis=1)
    pairable = m >= 2
    agreeing = divide((counts * (counts - 1)).sum(axis=1), m - 1)
    return np.column_stack([np.where(pairable, agreeing, 0.0), np.where(pairable[:, None], counts, 0.0)])


def from_sums(sums: ArrayLike) -> Floats:
    """Alpha from summed `terms`, whose last axis is 1 + K; NaN where all ratings agree on one category."""
    array = np.asarray(sums, dtype=float)
    agreeing, counts = array[..., 0], array[..., 1:]
    n = counts.sum(axis=-1)
    observed = 1 - divide(agreeing, n)
    expected = 1 - divide((counts * (counts - 1)).sum(axis=-1), n * (n - 1))
    # Weighted sums may leave a rounding error where every rating is the same.
    return 1 - divide(observed, expected, tiny=1e-9)


def compute(ratings_UC: ArrayLike) -> Statistic:
    """Alpha of units x coders, NaN = missing; in (-inf, 1], NaN with a reason when undefined."""
    counts = rating_counts(ratings_UC)
    pairable = counts.sum(axis=1) >= 2
    n, out = int(pairable.sum()), int((~pairable).sum())
    if n == 0:
        return undefined("no unit has two ratings", n=n, n_undefined=out)
    value = float(from_sums(terms(counts).sum(axis=0)))
    if np.isnan(value):
        return undefined("every rating is the same, chance disagreement is zero", n=n, n_undefined=out)
    return Statistic(value, n, out)
