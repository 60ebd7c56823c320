"""Permutation tests: swaps within study clustered by patient, steps inside a trajectory, exact enumeration.

Every p-value is (b + 1) / (B + 1) for B random permutations of which b are as extreme (B. Phipson, G. K. Smyth, 2010),
or the exact share when all arrangements are enumerated.
"""

import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats

Alternative = Literal["two-sided", "less", "greater"]


class Swaps(NamedTuple):
    """Columns of +1/-1 per row, equal within a patient; `exact` when they are all 2^patients arrangements."""

    signs_NB: Floats
    exact: bool


class Test(NamedTuple):
    """A permutation test: `statistic`, `p` in (0, 1] or NaN, `effect`, `n` pairs, `n_patients`, `exact`, `reason`.

    `detectable` is the smallest true effect that would be found with power .8, NaN where it is not known.
    """

    statistic: float
    p: float
    effect: float
    n: int
    n_patients: int
    exact: bool
    reason: str = ""
    detectable: float = float("nan")


def p_value(observed: float, null_B: ArrayLike, *, exact: bool = False) -> float:
    """Share of the null at least as large as the observed value; NaN when either is undefined.

    Random draws give (b + 1) / (B + 1); an exact null, which holds the observed arrangement itself, gives b / B.
    """
    null = np.asarray(null_B, dtype=float)
    null = null[~np.isnan(null)]
    if np.isnan(observed) or not len(null):
        return float("nan")
    # Equal arrangements must count as equal in spite of rounding.
    extreme = int((null >= observed - 1e-9 * max(1.0, abs(observed))).sum())
    return extreme / len(null) if exact else (extreme + 1) / (len(null) + 1)


def cluster_signs(patients_N: ArrayLike, *, draws: int, seed: int) -> Swaps:
    """Signs that swap all rows of a patient together; all arrangements when there are no more than `draws`."""
    _, codes = np.unique(np.asarray(patients_N), return_inverse=True)
    n = int(codes.max(initial=-1)) + 1
    if 0 < n < 30 and 2**n <= draws:
        every = np.array(list(itertools.product((1.0, -1.0), repeat=n)), dtype=np.float64)
        return Swaps(every.T[codes], True)
    signs = (np.random.default_rng(seed).integers(0, 2, size=(n, draws)) * 2.0 - 1.0).astype(np.float64)
    return Swaps(signs[codes], False)


def paired_mean(
    difference_N: ArrayLike,
    patients_N: ArrayLike,
    *,
    weights_N: ArrayLike | None = None,
    alternative: Alternative = "two-sided",
    draws: int = 1999,
    seed: int = 0,
) -> Test:
    """Test that the mean of paired differences is zero, by swapping the two labels within studies.

    All studies of a patient are swapped together; with 2^patients <= draws all arrangements are used. Signs are drawn
    in blocks, so memory stays at patients x 256.

    Args:
        difference_N: one value per study (first minus second), NaN = undefined and left out.
        patients_N: patient of each study.
        weights_N: weight of each study; equal when None.
        alternative: two-sided, or the mean is less or greater than zero.
        draws: random permutations.
        seed: of the permutations.
    """
    difference = np.asarray(difference_N, dtype=float)
    defined = ~np.isnan(difference)
    weights = np.ones(len(difference)) if weights_N is None else np.asarray(weights_N, dtype=float)
    if not defined.any() or not weights[defined].sum() > 0:
        return Test(float("nan"), float("nan"), float("nan"), 0, 0, False, "no pair is defined")
    _, codes = np.unique(np.asarray(patients_N)[defined], return_inverse=True)
    values, total = difference[defined], float(weights[defined].sum())
    sums = np.bincount(codes, weights=values * weights[defined]).astype(np.float64)
    observed = float(sums.sum()) / total
    null, exact = _sign_sums(sums, draws, seed)
    fold: Callable[[Floats], Floats] = {"two-sided": np.abs, "less": np.negative, "greater": np.positive}[alternative]
    p = p_value(float(fold(np.array([observed]))[0]), fold(null / total), exact=exact)
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    effect = observed / spread if spread > 0 else float("nan")
    return Test(observed, p, effect, int(defined.sum()), len(sums), exact)


def _sign_sums(sums_P: Floats, draws: int, seed: int) -> tuple[Floats, bool]:
    n = len(sums_P)
    if n < 30 and 2**n <= draws:
        return np.array(list(itertools.product((1.0, -1.0), repeat=n))) @ sums_P, True
    rng = np.random.default_rng(seed)
    blocks = [
        (rng.integers(0, 2, size=(min(256, draws - start), n), dtype=np.int8) * 2.0 - 1.0) @ sums_P
        for start in range(0, draws, 256)
    ]
    return np.concatenate(blocks), False


def exact_mean_difference(x_N: ArrayLike, y_M: ArrayLike, *, alternative: Alternative = "two-sided") -> float:
    """Exact p-value of mean(x) - mean(y) for two small independent samples, over all splits of the pooled values."""
    x, y = np.asarray(x_N, dtype=float), np.asarray(y_M, dtype=float)
    pooled, n = np.concatenate([x, y]), len(x)
    if not len(x) or not len(y):
        return float("nan")
    total = pooled.sum()
    first = np.array([pooled[list(chosen)].sum() for chosen in itertools.combinations(range(len(pooled)), n)])
    null = first / n - (total - first) / len(y)
    observed = float(x.mean() - y.mean())
    tails = {
        "less": p_value(-observed, -null, exact=True),
        "greater": p_value(observed, null, exact=True),
    }
    return tails[alternative] if alternative in tails else min(1.0, 2 * min(tails.values()))


def blocks_of(sizes_G: ArrayLike) -> list[np.ndarray]:
    """Rows of consecutive groups, one matrix (groups x size) per size above one; made once for many permutations."""
    sizes = np.asarray(sizes_G, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else sizes
    return [starts[sizes == size][:, None] + np.arange(size) for size in np.unique(sizes[sizes > 1])]


def within_groups(sizes_G: ArrayLike, rng: np.random.Generator, blocks: list[np.ndarray] | None = None) -> np.ndarray:
    """A random permutation of consecutive rows that stays inside groups of the given sizes.

    Groups of one size are permuted together, which is about ten times faster than sorting random keys.

    Args:
        sizes_G: sizes of the groups, in the order of the rows.
        rng: source of randomness.
        blocks: `blocks_of(sizes_G)`, when there are many permutations of the same groups.
    """
    order = np.arange(int(np.sum(sizes_G)))
    for rows in blocks_of(sizes_G) if blocks is None else blocks:
        order[rows] = rng.permuted(rows, axis=1)
    return order
