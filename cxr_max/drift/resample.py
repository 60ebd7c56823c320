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

Method = Literal["auto", "percentile", "bca", "normal"]
FEW_PATIENTS = 100
"""Below this many patients percentile intervals cover too little, and BCa is used."""
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
        method: percentile or bca.
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

    Args:
        sums_PM: patients x M sums.
        statistic: from sums (... x M) to values (... x Q), vectorised over the leading axes.
        draws: bootstrap draws; the same seed and patients give the same draws in every call.
        level: nominal coverage.
        seed: of the draws.
        method: percentile, bca, normal (value -+ z errors, for plug-in divergences: their draws are biased upwards
            by as much as they are themselves), or auto (bca below 100 patients, else percentile).
    """
    sums = np.asarray(sums_PM, dtype=float)
    n = len(sums)
    value = np.asarray(statistic(sums.sum(axis=0)), dtype=float)
    nothing = np.full(value.shape, np.nan)
    if n < 2 or draws < 1:
        return Interval(value, nothing, nothing, nothing, np.zeros(value.shape, int), n, "none: fewer than 2 patients")
    values = np.concatenate([statistic(block) for block in resampled_sums(sums, draws=draws, seed=seed)])
    chosen = method if method != "auto" else ("bca" if n < FEW_PATIENTS else "percentile")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if chosen == "bca":
        jackknife = np.asarray(statistic(sums.sum(axis=0) - sums), dtype=float)
        low, high = _bca(value, values, jackknife, tails)
    else:
        low, high = _quantiles(values, np.broadcast_to(tails[:, None], (2, value.size)).reshape(2, *value.shape))
    defined = (~np.isnan(values)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        centred = values - np.where(defined > 0, np.nansum(values, axis=0) / np.maximum(defined, 1), np.nan)
        error = np.sqrt(np.nansum(centred**2, axis=0) / np.maximum(defined - 1, 1))
    if chosen == "normal":
        z = float(require("scipy.special", extra="drift").ndtri((1 + level) / 2))
        low, high = value - z * error, value + z * error
    unknown = np.isnan(value) | (defined < 2)
    low, high, error = (np.where(unknown, np.nan, part) for part in (low, high, error))
    return Interval(value, low, high, error, draws - defined, n, chosen)


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


def _bca(value_Q: Floats, values_DQ: Floats, jackknife_PQ: Floats, tails: Floats) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated levels (B. Efron, JASA 1987;82:171), then quantiles at them."""
    normal = require("scipy.special", extra="drift")
    defined = np.maximum((~np.isnan(values_DQ)).sum(axis=0), 1)
    # Half of the ties count as below, else a discrete statistic is shifted.
    below = ((values_DQ < value_Q).sum(axis=0) + 0.5 * (values_DQ == value_Q).sum(axis=0)) / defined
    bias = normal.ndtri(np.clip(below, 0.5 / defined, 1 - 0.5 / defined))
    known = np.maximum((~np.isnan(jackknife_PQ)).sum(axis=0), 1)
    deviation = np.nan_to_num(np.nansum(jackknife_PQ, axis=0) / known - jackknife_PQ)
    cubes, squares = (deviation**3).sum(axis=0), (deviation**2).sum(axis=0)
    acceleration = np.nan_to_num(divide(cubes, 6 * squares**1.5, tiny=0.0))
    z = normal.ndtri(tails).reshape(2, *([1] * value_Q.ndim))
    levels = normal.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    return _quantiles(values_DQ, levels)


def smallest_detectable(error: ArrayLike, *, alpha: float = 0.05, power: float = 0.8) -> Floats:
    """Smallest true difference found with the given power by a two-sided test, from its standard error."""
    normal = require("scipy.special", extra="drift")
    result: Floats = (normal.ndtri(1 - alpha / 2) + normal.ndtri(power)) * np.asarray(error, dtype=float)
    return result
