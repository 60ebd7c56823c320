"""Prevalence- and bias-adjusted kappa: PABAK = (K p_o - 1) / (K - 1), for two categories 2 p_o - 1.

Source: T. Byrt, J. Bishop, J. B. Carlin, Journal of Clinical Epidemiology 1993;46:423.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, undefined
from cxr_max.drift.stats.gwet_ac1 import terms
from cxr_max.drift.stats.krippendorff_alpha import rating_counts


def from_agreement(observed: ArrayLike, n_categories: int) -> Floats:
    """PABAK from observed pair agreement in [0, 1]."""
    return (n_categories * np.asarray(observed, dtype=float) - 1) / (n_categories - 1)


def compute(ratings_UC: ArrayLike, *, n_categories: int | None = None) -> Statistic:
    """PABAK of units x coders, NaN = missing; `n_categories` as in `gwet_ac1`."""
    counts = rating_counts(ratings_UC)
    pairs = terms(counts)[:, :2].sum(axis=0)
    if pairs[0] == 0:
        return undefined("no unit has two ratings", n_undefined=len(counts))
    value = from_agreement(pairs[1] / pairs[0], max(n_categories or 2, counts.shape[1]))
    return Statistic(float(value), int(pairs[0]), len(counts) - int(pairs[0]))
