"""Energy distance of two samples (V-statistic).

    E = 2 E|X - Y| - E|X - X'| - E|Y - Y'| >= 0, Euclidean distances

Source: G. J. Szekely, M. L. Rizzo, Journal of Statistical Planning and Inference 2013;143:1249. scipy's one-dimensional
function returns its square root; hyppo scales it differently.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, matrix, undefined


def distances(x_NF: ArrayLike, y_MF: ArrayLike) -> Floats:
    """Euclidean distances, N x M, by the expanded square (one matrix product)."""
    x, y = matrix(x_NF, "x"), matrix(y_MF, "y")
    # The expansion loses digits far from the origin.
    centre = x.mean(axis=0) if len(x) else 0.0
    x, y = x - centre, y - centre
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * x @ y.T
    result: Floats = np.sqrt(np.maximum(squared, 0.0))
    return result


class Paired(NamedTuple):
    """Energy distances of paired samples under sign swaps: `observed`, and one `swapped` value per column of signs."""

    observed: float
    swapped: Floats


def paired(x_NF: ArrayLike, y_NF: ArrayLike, signs_NB: ArrayLike) -> Paired:
    """Energy distance of x against y, and after exchanging x_i with y_i wherever the sign is -1.

    With z = sign on x and -sign on y, E = -z' D z / n^2, which needs the distances once.
    """
    x, y, signs = matrix(x_NF, "x"), matrix(y_NF, "y"), matrix(signs_NB, "signs")
    cross = distances(x, y)
    within = distances(x, x)
    np.fill_diagonal(within, 0.0)
    contrast = within - cross - cross.T
    within = distances(y, y)
    np.fill_diagonal(within, 0.0)
    contrast += within
    n = len(x)
    return Paired(float(-contrast.sum() / n**2), -np.einsum("nb,nb->b", signs, contrast @ signs) / n**2)


def compute(x_NF: ArrayLike, y_MF: ArrayLike) -> Statistic:
    """Energy distance of two samples (rows) in F dimensions; NaN when either is empty."""
    x, y = matrix(x_NF, "x"), matrix(y_MF, "y")
    n = len(x) + len(y)
    if not len(x) or not len(y):
        return undefined("an empty sample", n=n)
    own_x, own_y = distances(x, x), distances(y, y)
    np.fill_diagonal(own_x, 0.0)
    np.fill_diagonal(own_y, 0.0)
    return Statistic(float(2 * distances(x, y).mean() - own_x.mean() - own_y.mean()), n)
