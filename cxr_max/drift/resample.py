"""Intervals from patients drawn with replacement, on sums that are kept per patient.

Every figure of the report is a function of sums over patients, so a bootstrap draw is a weighted sum and never a second
scoring. A draw takes all studies of a patient and all teachers together, which keeps their pairing.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, divide
from cxr_max.optional import require

Method = Literal["auto", "percentile", "bca", "wide", "student", "normal"]
FEW_PATIENTS = 100
"""Below this many patients percentile intervals cover too little, and another method is used."""
FEW_METHOD: Method = "wide"
_BLOCK = 128


class Interval(NamedTuple):
    """Estimates and intervals, arrays over the statistics.

    Attributes:
        value: from all patients.
        low: lower end.
        high: upper end.
        error: standard deviation of the draws.
        nan_draws: draws in which the statistic was undefined, and which were left out.
        n_patients: patients that were resampled.
        method: how the draws became an interval; see `bootstrap`.
    """

    value: Floats
    low: Floats
    high: Floats
    error: Floats
    nan_draws: np.ndarray
    n_patients: int
    method: str


def patient_sums(terms_RM: ArrayLike, patients_R: ArrayLike, n_patients: int) -> Floats:
    """Sum rows by patient code 0..n_patients - 1: patients x M."""
    terms = np.asarray(terms_RM, dtype=float)
    codes = np.asarray(patients_R)
    out = np.empty((n_patients, terms.shape[1]))
    for column in range(terms.shape[1]):
        out[:, column] = np.bincount(codes, weights=terms[:, column], minlength=n_patients)
    return out


def bootstrap(
    sums_PM: ArrayLike,
    statistic: Callable[[Floats], Floats],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "auto",
) -> Interval:
    """Cluster bootstrap of functions of sums.

    Methods: `percentile`; `bca` (B. Efron, JASA 1987;82:171); `wide`, BCa at the tails that make the percentile
    interval of a normal mean as wide as Student's t (T. Hesterberg, The American Statistician 2015;69:371, section
    4.3); `student`, bootstrap-t with the error of each draw from the patients' influence; `normal` (value -+ z errors,
    for plug-in divergences: their draws are biased upwards by as much as they are themselves). `auto` is `wide` below
    100 patients, else percentile. All but `student` and `normal` stay inside the range of the statistic.

    Args:
        sums_PM: patients x M sums.
        statistic: from sums (... x M) to values (... x Q), vectorised over the leading axes.
        draws: bootstrap draws; the same seed and patients give the same draws in every call.
        level: nominal coverage.
        seed: of the draws.
        method: how draws become an interval.
    """
    sums = np.asarray(sums_PM, dtype=float)
    n = len(sums)
    value = np.asarray(statistic(sums.sum(axis=0)), dtype=float)
    nothing = np.full(value.shape, np.nan)
    if n < 2 or draws < 1:
        return Interval(value, nothing, nothing, nothing, np.zeros(value.shape, int), n, "none: fewer than 2 patients")
    chosen = method if method != "auto" else (FEW_METHOD if n < FEW_PATIENTS else "percentile")
    influence = _influence(value, sums, statistic) if chosen in ("bca", "wide", "student") else nothing[None]
    if chosen == "student":
        values, spread = _studied(sums, influence, statistic, (draws, seed))
        low, high = _student(value, values, spread, influence, level)
    else:
        values = np.concatenate([statistic(block) for block in resampled_sums(sums, draws=draws, seed=seed)])
        if chosen in ("bca", "wide"):
            levels = _bca_levels(value, values, influence, _limits(level, n if chosen == "wide" else None))
        else:
            levels = _both((1 - level) / 2, value.shape)
        low, high = _quantiles(values, levels)
    defined = (~np.isnan(values)).sum(axis=0)
    error = _deviation(values, defined)
    if chosen == "normal":
        z = float(require("scipy.special", extra="drift").ndtri((1 + level) / 2))
        low, high = value - z * error, value + z * error
    unknown = np.isnan(value) | (defined < 2)
    low, high, error = (np.where(unknown, np.nan, part) for part in (low, high, error))
    return Interval(value, low, high, error, draws - defined, n, chosen)


def few_limits(value: Floats, values_DQ: Floats, influence_PQ: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Method `wide` of `bootstrap` on draws made elsewhere, for statistics that are not functions of sums.

    Args:
        value: of all patients, [Q].
        values_DQ: of the draws, NaN where undefined.
        influence_PQ: how much each patient moves the statistic: (P - 1) (mean of the leave-one-out values - each).
        level: nominal coverage.
    """
    ends = _limits(level, len(influence_PQ))
    return _quantiles(values_DQ, _bca_levels(value, values_DQ, influence_PQ, ends))


def _deviation(values_DQ: Floats, defined_Q: np.ndarray) -> Floats:
    with np.errstate(invalid="ignore"):
        centre = np.where(defined_Q > 0, np.nansum(values_DQ, axis=0) / np.maximum(defined_Q, 1), np.nan)
        error: Floats = np.sqrt(np.nansum((values_DQ - centre) ** 2, axis=0) / np.maximum(defined_Q - 1, 1))
    return error


def _limits(level: float, n: int | None) -> Floats:
    """Normal quantiles of both tails; for n patients widened to -+ sqrt(n / (n - 1)) t, at most 4."""
    special = require("scipy.special", extra="drift")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    z: Floats = special.ndtri(tails) if n is None else np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, tails)
    return np.clip(z, -4.0, 4.0)


def _influence(value: Floats, sums_PM: Floats, statistic: Callable[[Floats], Floats]) -> Floats:
    """How much each patient moves the statistic, P x Q: (P - 1) (mean of the leave-one-out values - each)."""
    left_out = np.asarray(statistic(sums_PM.sum(axis=0) - sums_PM), dtype=float)
    known = np.maximum((~np.isnan(left_out)).sum(axis=0), 1)
    moved: Floats = np.nan_to_num(np.nansum(left_out, axis=0) / known - left_out)
    return (len(sums_PM) - 1) * moved


def _studied(
    sums_PM: Floats, influence_PQ: Floats, statistic: Callable[[Floats], Floats], plan: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Values of the draws and their own standard errors."""
    n, width = sums_PM.shape
    flat = influence_PQ.reshape(n, -1)
    values, errors = [], []
    for block in resampled_sums(np.concatenate([sums_PM, flat, flat**2], axis=1), draws=plan[0], seed=plan[1]):
        value = statistic(block[:, :width])
        first, second = block[:, width : width + flat.shape[1]], block[:, width + flat.shape[1] :]
        errors.append(np.sqrt(np.maximum(second - first**2 / n, 0.0)).reshape(value.shape) / n)
        values.append(value)
    return np.concatenate(values), np.concatenate(errors)


def _student(
    value: Floats, values_DQ: Floats, error_DQ: Floats, influence_PQ: Floats, level: float
) -> tuple[Floats, Floats]:
    """value - quantiles of (draw - value) / error of the draw, times the error; draws without an error are left out."""
    n = len(influence_PQ)
    error = np.sqrt(np.maximum((influence_PQ**2).sum(axis=0) - influence_PQ.sum(axis=0) ** 2 / n, 0.0)) / n
    studied = divide(values_DQ - value, error_DQ)
    low, high = _quantiles(studied, _both((1 - level) / 2, value.shape))
    return value - high * error, value - low * error


def resampled_sums(sums_PM: Floats, *, draws: int, seed: int) -> list[Floats]:
    """Sums over resampled patients, in blocks of draws x M."""
    n = len(sums_PM)
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - start)
        picks = rng.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(float)
        blocks.append(weights @ sums_PM)
    return blocks


def _quantiles(values_DQ: Floats, levels_2Q: Floats) -> tuple[Floats, Floats]:
    """Linear quantiles per column at its own two levels, ignoring NaN."""
    ordered = np.sort(values_DQ, axis=0)
    defined = (~np.isnan(ordered)).sum(axis=0)
    ends = []
    for level in levels_2Q:
        place = np.nan_to_num(level) * np.maximum(defined - 1, 0)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(defined - 1, 0))
        low = np.take_along_axis(ordered, below[None], axis=0)[0]
        high = np.take_along_axis(ordered, above[None], axis=0)[0]
        ends.append(low + (high - low) * (place - below))
    return ends[0], ends[1]


def _both(tail: float, shape: tuple[int, ...]) -> Floats:
    return np.stack([np.full(shape, tail), np.full(shape, 1 - tail)])


def _bca_levels(value_Q: Floats, values_DQ: Floats, influence_PQ: Floats, limits: Floats) -> Floats:
    """Bias-corrected and accelerated levels at two normal quantiles, 2 x Q."""
    normal = require("scipy.special", extra="drift")
    defined = np.maximum((~np.isnan(values_DQ)).sum(axis=0), 1)
    # Half of the ties count as below, else a discrete statistic is shifted.
    below = ((values_DQ < value_Q).sum(axis=0) + 0.5 * (values_DQ == value_Q).sum(axis=0)) / defined
    bias = normal.ndtri(np.clip(below, 0.5 / defined, 1 - 0.5 / defined))
    cubes, squares = (influence_PQ**3).sum(axis=0), (influence_PQ**2).sum(axis=0)
    acceleration = np.nan_to_num(divide(cubes, 6 * squares**1.5, tiny=0.0))
    moved = bias + limits.reshape(2, *([1] * value_Q.ndim))
    # Far in the tails of few patients the correction has a pole; the level then is that of the extreme draw.
    levels: Floats = normal.ndtr(bias + moved / np.maximum(1 - acceleration * moved, 0.05))
    return levels


def smallest_detectable(
    error: ArrayLike, *, alpha: float = 0.05, power: float = 0.8, freedom: float | None = None
) -> Floats:
    """Smallest true difference found with the given power by a two-sided test, from its standard error.

    The tails are the normal's, or Student's t with `freedom` degrees of freedom.
    """
    special = require("scipy.special", extra="drift")
    quantiles = [
        special.ndtri(share) if freedom is None else special.stdtrit(freedom, share) for share in (1 - alpha / 2, power)
    ]
    result: Floats = sum(quantiles) * np.asarray(error, dtype=float)
    return result


def smallest_detectable_spread(null_B: ArrayLike, n_groups: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true standard deviation between group means that the permutation test of their variance would find.

    Under the null the variance of k means is m / (k - 1) times chi-squared with k - 1 degrees of freedom, m its mean;
    true differences make it non-central, with non-centrality (k - 1) v / m for a true variance v.

    Args:
        null_B: variances under permutation.
        n_groups: k.
        alpha: level of the test.
        power: probability of finding it.
    """
    null = np.asarray(null_B, dtype=float)
    null = null[~np.isnan(null)]
    if n_groups < 2 or len(null) * alpha < 1 or not null.mean() > 0:
        return float("nan")
    special = require("scipy.special", extra="drift")
    freedom, mean = n_groups - 1, float(null.mean())
    threshold = float(np.quantile(null, 1 - alpha)) * freedom / mean
    return float(np.sqrt(special.chndtrinc(threshold, freedom, 1 - power) * mean / freedom))
