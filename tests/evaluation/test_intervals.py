"""Intervals of scores: percentiles from 100 patients on, wider below, and what they cover."""

import numpy as np
import pytest

from cxr_max.drift import resample
from cxr_max.evaluation import intervals
from cxr_max.evaluation.intervals import Floats


def _of(x: Floats, *, draws: int = 400, seed: int = 0) -> intervals.Interval:
    """The mean of one number a patient."""
    names = [f"{i:04}" for i in range(len(x))]

    def score(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray(weights @ x / weights.sum(axis=1))

    return intervals.bootstrap(score, names, all_patients=names, draws=draws, seed=seed)


def test_few_patients_get_the_interval_of_the_drift_report() -> None:
    x = np.random.default_rng(0).exponential(size=20)
    sums = np.stack([x, np.ones(20)], axis=1)

    def ratio(s: Floats) -> Floats:
        return np.asarray(s[..., 0] / s[..., 1])

    theirs = resample.bootstrap(sums, ratio, draws=500)
    draws = np.concatenate([ratio(block) for block in resample.resampled_sums(sums, draws=500, seed=0)])
    mine = intervals.limits(float(x.mean()), draws, influence=_of(x).influence)
    assert theirs.method == "wide"
    assert mine == pytest.approx((float(theirs.low), float(theirs.high)))
    percentiles = intervals.limits(float(x.mean()), draws)
    assert mine[1] - mine[0] > percentiles[1] - percentiles[0]


def test_many_patients_get_percentiles() -> None:
    x = np.random.default_rng(0).normal(size=150)
    mine = _of(x)
    assert mine.influence is None
    assert (mine.low, mine.high) == pytest.approx(tuple(np.quantile(mine.draws, [0.025, 0.975])))


def test_influence_is_the_patients_own_share() -> None:
    x = np.arange(10.0)
    influence = _of(x).influence
    assert influence is not None
    assert influence == pytest.approx(x - x.mean())


def test_means_over_groups_keep_it_and_undefined_groups_do_not_count() -> None:
    first, second = _of(np.arange(10.0)), _of(np.arange(10.0)[::-1].copy())
    both = intervals.mean([first, second])
    assert both.influence == pytest.approx(np.zeros(10))
    assert (both.low, both.high) == pytest.approx((4.5, 4.5))
    nothing = first._replace(value=float("nan"), draws=np.full(400, np.nan))
    assert intervals.mean([first, nothing])[:3] == pytest.approx(first[:3])


def test_intervals_of_few_patients_cover_what_they_say() -> None:
    rng = np.random.default_rng(1)
    worlds = [rng.binomial(1, 0.7, size=25).astype(float) for _ in range(400)]
    found = [_of(x, draws=300, seed=i) for i, x in enumerate(worlds)]
    inside = np.mean([i.low <= 0.7 <= i.high for i in found])
    # Five standard errors of 400 trials below .95; percentiles of so few patients fall to about .92 on such data.
    assert inside > 0.95 - 5 * np.sqrt(0.95 * 0.05 / 400)
