"""Permutation, bootstrap and multiplicity against worked numbers, slow versions and their guarantees."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.drift import multiplicity, permute, resample
from cxr_max.errors import UnknownNameError

NAN = float("nan")


def test_exact_permutation_worked_numbers() -> None:
    x, y = [0, 1, 2], [10, 11, 12]
    assert permute.exact_mean_difference(x, y) == pytest.approx(0.1)
    assert permute.exact_mean_difference(x, y, alternative="less") == pytest.approx(0.05)
    assert permute.exact_mean_difference(x, y, alternative="greater") == pytest.approx(1.0)
    assert math.isnan(permute.exact_mean_difference([], y))


def test_exact_permutation_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=4), rng.normal(1, 1, size=5)
    for tail in ("two-sided", "less", "greater"):
        theirs = stats.permutation_test((x, y), lambda a, b: a.mean() - b.mean(), alternative=tail, n_resamples=10**6)
        assert permute.exact_mean_difference(x, y, alternative=tail) == pytest.approx(theirs.pvalue)


def test_p_value_never_is_zero() -> None:
    assert permute.p_value(5.0, np.zeros(999)) == pytest.approx(0.001)
    assert permute.p_value(1.0, [1.0, 0.0], exact=True) == pytest.approx(0.5)
    assert math.isnan(permute.p_value(NAN, [1.0]))
    assert math.isnan(permute.p_value(1.0, []))


def test_multiplicity_worked_numbers() -> None:
    p = [0.01, 0.02, 0.03, 0.04]
    assert multiplicity.adjust(p, "bh") == pytest.approx([0.04] * 4)
    assert multiplicity.adjust(p, "by") == pytest.approx([0.083333] * 4, abs=1e-6)
    assert multiplicity.adjust(p, "holm") == pytest.approx([0.04, 0.06, 0.06, 0.06])
    with pytest.raises(UnknownNameError, match="bh, by, holm"):
        multiplicity.adjust(p, "none")  # type: ignore[arg-type]


def slow_adjust(p: list[float], method: str) -> list[float]:
    order = sorted(range(len(p)), key=p.__getitem__)
    m, out = len(p), [0.0] * len(p)
    if method == "holm":
        running = 0.0
        for rank, i in enumerate(order):
            running = max(running, (m - rank) * p[i])
            out[i] = min(1.0, running)
        return out
    c = sum(1 / i for i in range(1, m + 1)) if method == "by" else 1.0
    running = 1.0
    for rank in range(m, 0, -1):
        i = order[rank - 1]
        running = min(running, c * m / rank * p[i])
        out[i] = running
    return out


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(multiplicity.METHODS))
@settings(max_examples=60, deadline=None)
def test_multiplicity_against_loops_and_ignores_undefined(p: list[float], method: str) -> None:
    adjusted = multiplicity.adjust([*p, NAN], method)  # type: ignore[arg-type]
    assert math.isnan(adjusted[-1])
    assert list(adjusted[:-1]) == pytest.approx(slow_adjust(p, method), abs=1e-12)
    assert all(a >= b - 1e-12 for a, b in zip(adjusted[:-1], p, strict=True))


def test_multiplicity_of_nothing() -> None:
    assert np.isnan(multiplicity.adjust([NAN, NAN])).all()
    assert len(multiplicity.adjust([])) == 0


def test_swaps_enumerate_few_patients() -> None:
    difference, patients = [1.0, 2.0, 3.0, 4.0], [7, 7, 8, 9]
    test = permute.paired_mean(difference, patients, draws=100)
    means = [abs(s[0] * 3 + s[1] * 3 + s[2] * 4) / 4 for s in itertools.product((1, -1), repeat=3)]
    assert test.exact
    assert test.p == pytest.approx(np.mean([m >= 2.5 for m in means]))
    assert (test.n, test.n_patients) == (4, 3)
    one = permute.paired_mean([1.0, 1.0], [5, 5])
    assert (one.p, one.n_patients) == (1.0, 1)


def test_swaps_against_scipy_without_clusters() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.4, 1, 10), rng.normal(size=10)
    theirs = stats.permutation_test(
        (x, y), lambda a, b: np.mean(a - b), permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    ours = permute.paired_mean(x - y, np.arange(10), alternative="greater")
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.statistic == pytest.approx(theirs.statistic)


def test_swap_signs_are_one_per_patient() -> None:
    swaps = permute.cluster_signs(np.repeat(np.arange(40), 3), draws=50, seed=0)
    assert not swaps.exact
    assert swaps.signs_NB.shape == (120, 50)
    grouped = swaps.signs_NB.reshape(40, 3, 50)
    assert (grouped == grouped[:, :1]).all()
    assert permute.cluster_signs([1, 2, 3], draws=8, seed=0).signs_NB.shape == (3, 8)


@pytest.mark.parametrize("difference", [[], [NAN, NAN]])
def test_swaps_of_nothing(difference: list[float]) -> None:
    test = permute.paired_mean(difference, list(range(len(difference))))
    assert math.isnan(test.p)
    assert test.reason


@pytest.mark.slow
def test_swap_p_values_are_super_uniform() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(20), 2)
    ps = []
    for i in range(2000):
        shared = np.repeat(rng.normal(size=20), 2)
        flip = np.repeat(rng.choice([-1, 1], 20), 2)
        ps.append(permute.paired_mean(flip * (shared + 0.5), patients, draws=199, seed=i).p)
    for a in (0.01, 0.05, 0.1, 0.5):
        assert np.mean(np.array(ps) <= a) <= a + 3.3 * math.sqrt(a * (1 - a) / 2000)


def test_permuting_within_groups_stays_inside_and_reaches_everything() -> None:
    sizes = [3, 1, 2, 3, 0, 4]
    seen = set()
    rng = np.random.default_rng(3)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    for _ in range(200):
        order = permute.within_groups(sizes, rng)
        for low, high in itertools.pairwise(bounds):
            assert sorted(order[low:high]) == list(range(low, high))
        seen.add(tuple(order[:3]))
    assert len(seen) == 6


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.stack([sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 1]], axis=-1)


def test_bootstrap_equals_drawing_patients_and_scoring_again() -> None:
    rng = np.random.default_rng(4)
    patients = rng.integers(0, 12, 60)
    rows = np.column_stack([rng.random(60), np.ones(60), rng.random(60)])
    sums = resample.patient_sums(rows, patients, 12)
    blocks = np.concatenate(resample.resampled_sums(sums, draws=150, seed=5))
    again = np.random.default_rng(5)
    slow = []
    for size in (128, 22):
        for picks in again.integers(0, 12, size=(size, 12)):
            chosen = np.concatenate([rows[patients == p] for p in picks])
            slow.append(chosen.sum(0))
    assert blocks == pytest.approx(np.array(slow))
    interval = resample.bootstrap(sums, ratio, draws=150, seed=5, method="percentile")
    values = ratio(np.array(slow))
    assert interval.low == pytest.approx(np.quantile(values, 0.025, axis=0))
    assert interval.high == pytest.approx(np.quantile(values, 0.975, axis=0))
    assert interval.error == pytest.approx(values.std(axis=0, ddof=1))
    assert interval.value == pytest.approx(ratio(rows.sum(0)))


def test_bca_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(6).exponential(size=40)
    sums = np.column_stack([values, np.ones(40), values])
    ours = resample.bootstrap(sums, ratio, draws=20_000, seed=0, method="bca")
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    assert ours.low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_bootstrap_does_not_depend_on_duplicate_columns_and_counts_undefined_draws() -> None:
    sums = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with np.errstate(invalid="ignore", divide="ignore"):
        interval = resample.bootstrap(sums, ratio, draws=500, seed=0, method="percentile")
    assert interval.value == pytest.approx([1, 1])
    expected = 500 * (2 / 3) ** 3
    assert abs(int(interval.nan_draws[0]) - expected) < 60
    assert interval.n_patients == 3


@pytest.mark.parametrize("patients", [0, 1])
def test_bootstrap_of_too_few_patients(patients: int) -> None:
    with np.errstate(invalid="ignore"):
        interval = resample.bootstrap(np.ones((patients, 3)), ratio, draws=10)
    assert np.isnan(interval.low).all()
    assert interval.n_patients == patients


def test_bootstrap_chooses_wider_tails_for_few_patients() -> None:
    rng = np.random.default_rng(7)
    for n, method in ((99, "wide"), (100, "percentile")):
        sums = np.column_stack([rng.random(n), np.ones(n), rng.random(n)])
        assert resample.bootstrap(sums, ratio, draws=50).method == method


def test_smallest_detectable_effect() -> None:
    assert float(resample.smallest_detectable(1.0)) == pytest.approx(1.959964 + 0.841621, abs=1e-6)


def test_wide_intervals_have_the_tails_of_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    for n in (5, 30, 99):
        want = math.sqrt(n / (n - 1)) * stats.t.ppf([0.025, 0.975], n - 1)
        assert resample._limits(0.95, n) == pytest.approx(want)
    rng = np.random.default_rng(8)
    sums = np.column_stack([rng.normal(size=20), np.ones(20), rng.normal(size=20)])
    wide, bca = (resample.bootstrap(sums, ratio, draws=4000, method=m) for m in ("wide", "bca"))
    assert (wide.low < bca.low).all()
    assert (wide.high > bca.high).all()
    half = stats.t.ppf(0.975, 19) * sums[:, 0].std(ddof=1) / math.sqrt(20)
    assert (wide.high - wide.low)[0] / 2 == pytest.approx(half, rel=0.08)


def test_studentised_intervals_against_a_loop() -> None:
    rng = np.random.default_rng(9)
    values = rng.exponential(size=15)
    sums = np.column_stack([values, np.ones(15), values])
    ours = resample.bootstrap(sums, ratio, draws=128, seed=3, method="student")
    studied = []
    for picks in np.random.default_rng(3).integers(0, 15, size=(128, 15)):
        draw = values[picks]
        studied.append((draw.mean() - values.mean()) / (draw.std(ddof=0) / math.sqrt(15)))
    error = values.std(ddof=0) / math.sqrt(15)
    low, high = np.quantile(studied, [0.025, 0.975])
    assert ours.low[0] == pytest.approx(values.mean() - high * error)
    assert ours.high[0] == pytest.approx(values.mean() - low * error)
    flat = resample.bootstrap(np.ones((15, 3)), ratio, draws=100, method="student")
    assert np.isnan(flat.low).all() or (flat.low == flat.value).all()


@pytest.mark.slow
def test_a_spread_that_can_be_found_is_found_eight_times_in_ten() -> None:
    rng = np.random.default_rng(10)
    n, k, error = 120, 7, 1.0
    noise = rng.normal(0, error, (n, k))
    null = [np.var(rng.permuted(noise, axis=1).mean(axis=0)) for _ in range(499)]
    smallest = resample.smallest_detectable_spread(null, k)
    true = np.linspace(-1, 1, k)
    true *= smallest / true.std()
    found = []
    for _ in range(200):
        world = rng.normal(0, error, (n, k)) + true
        shuffled = [np.var(rng.permuted(world, axis=1).mean(axis=0)) for _ in range(99)]
        found.append(permute.p_value(float(np.var(world.mean(axis=0))), shuffled) <= 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.11)


def test_spread_that_can_be_found_is_undefined_without_a_null() -> None:
    assert math.isnan(resample.smallest_detectable_spread([], 7))
    assert math.isnan(resample.smallest_detectable_spread([0.1] * 100, 1))
    assert math.isnan(resample.smallest_detectable_spread([0.0] * 100, 7))
    scale = np.random.default_rng(11).chisquare(6, 4000) / 7
    assert resample.smallest_detectable_spread(scale * 4, 7) == pytest.approx(
        2 * resample.smallest_detectable_spread(scale, 7)
    )
