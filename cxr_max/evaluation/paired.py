"""Paired differences between two runs over the same questions: interval, p-value and smallest detectable difference.

Patients are resampled with all their questions, both runs together (interval); a p-value comes from a randomisation
test that exchanges the two runs' answers patient by patient, which needs no re-scoring (`metrics`: statistics a
sample). Both see the same draws for every score of a task.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cxr_max.drift.resample import smallest_detectable
from cxr_max.errors import DataError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.intervals import BLOCK, Floats, limits
from cxr_max.evaluation.types import Measure


class Difference(NamedTuple):
    """One run minus another on one score.

    Attributes:
        value: difference of the values.
        low: lower end of its 95 % interval; NaN when undefined.
        high: upper end.
        p: two-sided, of the randomisation test, (b + 1) / (B + 1); NaN when undefined.
        detectable: smallest true difference a two-sided test at .05 finds with power .8, from the standard error.
        patients: number of clusters.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float
    patients: int


def difference(one: Scored, other: Scored, *, draws: int, seed: int) -> Difference:
    """`one` minus `other`.

    Args:
        one: a score with draws.
        other: the same score of another run over the same questions, with the same draws.
        draws: of the randomisation test.
        seed: of the randomisation test.

    Raises:
        DataError: the questions, their patients or the groups differ, so that nothing can be paired.
    """
    if one.samples != other.samples or one.patients != other.patients or _shape(one) != _shape(other):
        raise DataError("the two runs were not asked the same questions, so there is no paired difference")
    value = one.interval.value - other.interval.value
    drawn = one.interval.draws - other.interval.draws
    ours, theirs = one.interval.influence, other.interval.influence
    influence = None if ours is None or theirs is None else ours - theirs
    low, high = limits(value, drawn, influence=influence)
    defined = drawn[~np.isnan(drawn)]
    error = float(defined.std(ddof=1)) if len(defined) > 1 and not np.isnan(value) else float("nan")
    p = _randomised(one, other, value, draws=draws, seed=seed)
    return Difference(value, low, high, p, float(smallest_detectable(error)), one.interval.patients)


def _shape(scored: Scored) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(m.metric, m.group, m.patients) for m in scored.measures]


def _randomised(one: Scored, other: Scored, value: float, *, draws: int, seed: int) -> float:
    if np.isnan(value) or not draws:
        return float("nan")
    names = sorted(set(one.patients))
    rng = np.random.default_rng([seed, 1])
    score = one.row["score"]
    contrasts = [_contrast(a, b, score, names) for a, b in zip(one.measures, other.measures, strict=True)]
    extreme = total = 0
    for begin in range(0, draws, BLOCK):
        flipped = (rng.random((min(BLOCK, draws - begin), len(names))) < 0.5).astype(np.float64)
        swapped = _mean(np.stack([c(flipped) for c in contrasts]))
        swapped = swapped[~np.isnan(swapped)]
        # Ties count against a difference; the tolerance keeps rounding from breaking them.
        extreme += int((np.abs(swapped) >= abs(value) - 1e-12).sum())
        total += len(swapped)
    return (extreme + 1) / (total + 1)


def _contrast(one: Measure, other: Measure, score: str, names: Sequence[str]) -> Callable[[Floats], Floats]:
    """From flips [D, patients], 0 or 1, to differences [D] with the flipped patients' answers exchanged."""
    metric = metrics.get(one.metric)
    both = np.concatenate([metric.exchangeable(np.asarray(m.stats, dtype=np.float64)) for m in (one, other)])
    at = np.searchsorted(names, list(one.patients))

    def differences(flipped_DP: Floats) -> Floats:
        moved = flipped_DP[:, at]
        first = metric.aggregate(both, np.concatenate([1 - moved, moved], axis=1))[score]
        second = metric.aggregate(both, np.concatenate([moved, 1 - moved], axis=1))[score]
        result: Floats = first - second
        return result

    return differences


def _mean(values_GD: Floats) -> Floats:
    """Mean over groups where defined. A group that is undefined in one of the runs is so in both: same questions."""
    defined = ~np.isnan(values_GD)
    total, n = np.where(defined, values_GD, 0.0).sum(axis=0), defined.sum(axis=0)
    result: Floats = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return result
