"""Maximum mean discrepancy of two samples, squared, unbiased, Gaussian kernel.

    MMD2_u = sum_{i != j} k(x_i, x_j) / (n (n - 1)) + the same of y - 2 mean k(x, y), k = exp(-|x - y|^2 / (2 s^2))

s = median distance of the pooled sample (1 when that is 0). Random Fourier features (A. Rahimi, B. Recht, NIPS 2007)
replace the kernel by an inner product, so that a permutation costs a matrix product. Source: A. Gretton et al., JMLR
2012;13:723, equation 3. The unbiased estimate may be negative.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, matrix, undefined
from cxr_max.drift.stats.energy_distance import Paired, distances


def median_distance(pooled_NF: ArrayLike, *, limit: int = 1000) -> float:
    """Median distance between different rows, from at most `limit` evenly spaced rows; 1 when it is 0."""
    pooled = matrix(pooled_NF, "pooled")
    step = max(1, -(-len(pooled) // limit))
    some = pooled[::step]
    pairs = distances(some, some)[np.triu_indices(len(some), 1)]
    median = float(np.median(pairs)) if len(pairs) else 0.0
    return median if median > 1e-12 else 1.0


def random_features(x_NF: ArrayLike, *, scale: float, n_features: int = 512, seed: int = 0) -> Floats:
    """Fourier features whose inner products approach the Gaussian kernel; N x n_features (even)."""
    x = matrix(x_NF, "x")
    frequencies = np.random.default_rng(seed).standard_normal((x.shape[1], n_features // 2)) / scale
    angles = x @ frequencies
    result: Floats = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(n_features // 2)
    return result


def from_features(phi_x: ArrayLike, phi_y: ArrayLike) -> float:
    """Unbiased MMD2 of two samples given as features."""
    a, b = matrix(phi_x, "phi_x"), matrix(phi_y, "phi_y")
    n, m = len(a), len(b)
    own_a = (np.sum(a.sum(axis=0) ** 2) - np.sum(a**2)) / (n * (n - 1))
    own_b = (np.sum(b.sum(axis=0) ** 2) - np.sum(b**2)) / (m * (m - 1))
    return float(own_a + own_b - 2 * a.sum(axis=0) @ b.sum(axis=0) / (n * m))


def paired(phi_x: ArrayLike, phi_y: ArrayLike, signs_NB: ArrayLike) -> Paired:
    """Unbiased MMD2 of paired samples given as features, and after exchanging pairs wherever the sign is -1."""
    a, b, signs = matrix(phi_x, "phi_x"), matrix(phi_y, "phi_y"), matrix(signs_NB, "signs")
    n = len(a)
    total = a.sum(axis=0) + b.sum(axis=0)
    flipped = signs.T @ (a - b)
    x_sum, y_sum = (total + flipped) / 2, (total - flipped) / 2
    squares = np.sum(a**2) + np.sum(b**2)
    own = ((x_sum**2).sum(axis=1) + (y_sum**2).sum(axis=1) - squares) / (n * (n - 1))
    return Paired(from_features(a, b), own - 2 * (x_sum * y_sum).sum(axis=1) / n**2)


def compute(x_NF: ArrayLike, y_MF: ArrayLike, *, scale: float | None = None) -> Statistic:
    """Exact unbiased MMD2 of two samples (rows); `scale` is the median pooled distance when None."""
    x, y = matrix(x_NF, "x"), matrix(y_MF, "y")
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        return undefined("fewer than two rows in a sample", n=n + m)
    s = median_distance(np.concatenate([x, y])) if scale is None else scale
    own_x = (np.exp(-(distances(x, x) ** 2) / (2 * s * s)).sum() - n) / (n * (n - 1))
    own_y = (np.exp(-(distances(y, y) ** 2) / (2 * s * s)).sum() - m) / (m * (m - 1))
    return Statistic(float(own_x + own_y - 2 * np.exp(-(distances(x, y) ** 2) / (2 * s * s)).mean()), n + m)
