"""Cohen's kappa of two coders, unweighted.

    kappa = (p_o - p_e) / (1 - p_e), from the K x K table of joint ratings

Source: J. Cohen, Educational and Psychological Measurement 1960;20:37. It collapses at extreme prevalence:
read it beside `gwet_ac1` and `pabak`.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, divide, undefined


def joint_table(a_U: ArrayLike, b_U: ArrayLike) -> Floats:
    """K x K counts of (a, b) over the units where both are given (not NaN), categories sorted."""
    a, b = np.asarray(a_U, dtype=float), np.asarray(b_U, dtype=float)
    both = ~(np.isnan(a) | np.isnan(b))
    categories, codes = np.unique(np.concatenate([a[both], b[both]]), return_inverse=True)
    table = np.zeros((len(categories), len(categories)))
    np.add.at(table, (codes[: both.sum()], codes[both.sum() :]), 1)
    return table


def from_sums(tables: ArrayLike) -> Floats:
    """Kappa from joint tables on the last two axes; NaN where both coders are constant on one category."""
    array = np.asarray(tables, dtype=float)
    n = array.sum(axis=(-2, -1))
    observed = divide(np.trace(array, axis1=-2, axis2=-1), n)
    expected = divide((array.sum(axis=-1) * array.sum(axis=-2)).sum(axis=-1), n**2)
    return divide(observed - expected, 1 - expected, tiny=1e-9)


def compute(a_U: ArrayLike, b_U: ArrayLike) -> Statistic:
    """Kappa of two equally long rating vectors; units where either is NaN are left out and counted."""
    table = joint_table(a_U, b_U)
    n = int(table.sum())
    out = len(np.asarray(a_U)) - n
    if n == 0:
        return undefined("no unit is rated by both", n_undefined=out)
    value = float(from_sums(table))
    if np.isnan(value):
        return undefined("both coders are constant, chance agreement is one", n=n, n_undefined=out)
    return Statistic(value, n, out)
