"""Divergence: jensen_shannon, energy_distance, mmd, c2st, total_correlation, kl_chain, change_point."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.drift.stats import (
    c2st,
    change_point,
    energy_distance,
    jensen_shannon,
    kl_chain,
    mmd,
    total_correlation,
)
from cxr_max.errors import DataError

seeds = st.integers(0, 2**32 - 1)
HALVES = [(0.5, 0.5, 0), (0, 0.5, 0.5)]


def test_jsd_worked_numbers() -> None:
    bits = jensen_shannon.compute(HALVES).value
    assert bits == pytest.approx(0.5)
    assert bits * math.log(2) == pytest.approx(0.346574, abs=1e-6)
    assert math.sqrt(bits) == pytest.approx(0.707107, abs=1e-6)
    assert jensen_shannon.compute([(1, 0), (1, 0), (0, 1)]).value == pytest.approx(0.918296, abs=1e-6)
    assert jensen_shannon.compute([*HALVES, (1 / 3, 1 / 3, 1 / 3)]).value == pytest.approx(0.351644, abs=1e-6)


def test_jsd_is_not_what_scipy_returns_by_default() -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    assert float(distance.jensenshannon(*HALVES, base=2)) == pytest.approx(0.707107, abs=1e-6)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_jsd_is_the_mean_divergence_from_the_mixture(seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(5), size=4)
    mixture = p.mean(0)
    slow = np.mean([sum(a * math.log2(a / m) for a, m in zip(row, mixture, strict=True) if a > 0) for row in p])
    value = jensen_shannon.compute(p).value
    assert value == pytest.approx(slow, abs=1e-10)
    assert 0 <= value <= 2
    assert jensen_shannon.compute(p[::-1]).value == pytest.approx(value)


def test_jsd_of_counts_leaves_out_a_silent_teacher() -> None:
    counts = np.array([[3.0, 1], [0, 0], [1, 3]])
    assert float(jensen_shannon.from_counts(counts)) == pytest.approx(float(jensen_shannon.from_counts(counts[[0, 2]])))
    assert math.isnan(float(jensen_shannon.from_counts(counts[:2])))
    p = np.array([[3.5, 1.5], [1.5, 3.5]]) / 5
    assert float(jensen_shannon.from_counts(counts)) == pytest.approx(jensen_shannon.compute(p).value)


def test_jsd_refuses_counts_and_needs_two() -> None:
    with pytest.raises(DataError, match="from_counts"):
        jensen_shannon.compute([[3, 1], [1, 3]])
    assert math.isnan(jensen_shannon.compute([[0.5, 0.5]]).value)


def test_energy_worked_numbers() -> None:
    assert energy_distance.compute([0, 1, 3], [5, 6, 8]).value == pytest.approx(7.333333, abs=1e-6)
    planar = energy_distance.compute([(0, 0), (0, 1)], [(3, 0), (3, 1)])
    assert planar.value == pytest.approx(5.162278, abs=1e-6)


def test_energy_against_scipy_and_dcor() -> None:
    stats = pytest.importorskip("scipy.stats")
    dcor = pytest.importorskip("dcor")
    x, y = [0, 1, 3], [5, 6, 8]
    assert stats.energy_distance(x, y) == pytest.approx(2.708013, abs=1e-6)
    assert stats.energy_distance(x, y) ** 2 == pytest.approx(energy_distance.compute(x, y).value)
    assert stats.wasserstein_distance(x, y) == pytest.approx(5.0)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 4)), rng.normal(0.5, size=(40, 4))
    assert energy_distance.compute(a, b).value == pytest.approx(float(dcor.energy_distance(a, b)), abs=1e-9)


@given(seeds, st.floats(-1e3, 1e3))
@settings(max_examples=30, deadline=None)
def test_energy_is_symmetric_shift_invariant_and_zero_on_itself(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    value = energy_distance.compute(x, y).value
    assert value >= -1e-9
    assert energy_distance.compute(y + shift, x + shift).value == pytest.approx(value, abs=1e-6)
    assert energy_distance.compute(x, x).value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["energy", "mmd"])
def test_paired_swaps_equal_swapping_and_computing_again(kind: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(12, 4)), rng.normal(0.3, size=(12, 4))
    signs = rng.choice([-1.0, 1.0], size=(12, 5))
    if kind == "mmd":
        x, y = (mmd.random_features(z, scale=1.0, n_features=64) for z in (x, y))
    paired = (energy_distance if kind == "energy" else mmd).paired(x, y, signs)
    for b, swapped in enumerate(paired.swapped):
        keep = signs[:, b, None] > 0
        u, w = np.where(keep, x, y), np.where(keep, y, x)
        again = energy_distance.compute(u, w).value if kind == "energy" else mmd.from_features(u, w)
        assert swapped == pytest.approx(again, abs=1e-9)


def test_mmd_worked_numbers() -> None:
    # k(0, 2) = e^-2 with scale 1; x = {0, 0}, y = {2, 2}: 1 + 1 - 2 e^-2.
    assert mmd.compute([0, 0], [2, 2], scale=1.0).value == pytest.approx(2 - 2 * math.exp(-2))
    assert mmd.median_distance([5.0, 5.0, 5.0]) == 1.0
    assert mmd.median_distance([0.0, 1.0, 3.0]) == pytest.approx(2.0)


def test_mmd_against_double_loop_and_random_features() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(15, 3)), rng.normal(0.7, size=(12, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / (2 * 1.5**2))

    own = [np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    slow = own[0] + own[1] - 2 * np.mean([k(a, b) for a in x for b in y])
    assert mmd.compute(x, y, scale=1.5).value == pytest.approx(slow, abs=1e-9)
    phi = [mmd.random_features(z, scale=1.5, n_features=40_000, seed=1) for z in (x, y)]
    assert mmd.from_features(*phi) == pytest.approx(slow, abs=0.02)


def test_mmd_is_symmetric_and_undefined_for_single_rows() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(7, 2))
    assert mmd.compute(x, y).value == pytest.approx(mmd.compute(y, x).value, abs=0.05)
    assert math.isnan(mmd.compute(x[:1], y).value)
    assert math.isnan(energy_distance.compute(x[:0], y).value)


def test_c2st_separates_what_differs_and_not_what_does_not() -> None:
    rng = np.random.default_rng(6)
    patients = np.repeat(np.arange(60), 2)
    x = rng.normal(size=(120, 5))
    same = c2st.compute(x, rng.normal(size=(120, 5)), patients)
    apart = c2st.compute(x, rng.normal(3, 1, size=(120, 5)), patients)
    assert abs(same.auc - 0.5) < 0.12
    assert apart.auc > 0.99
    assert c2st.compute(x, x, patients).auc == pytest.approx(0.5, abs=1e-9)


def test_c2st_auc_against_sklearn_and_all_pairs() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(7)
    scores, labels = np.round(rng.normal(size=60), 1), rng.integers(0, 2, 60).astype(bool)
    ours = float(c2st.auc(scores, labels)[0])
    assert ours == pytest.approx(metrics.roc_auc_score(labels, scores))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert ours == pytest.approx(float(np.mean(pairs)))
    assert float(c2st.auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])[0]) == pytest.approx(0.75)


def test_c2st_swapping_everything_mirrors_the_samples() -> None:
    rng = np.random.default_rng(8)
    x, y, patients = rng.normal(size=(40, 3)), rng.normal(1, 1, size=(40, 3)), np.arange(40) // 2
    both = c2st.compute(x, y, patients, signs_NB=np.column_stack([np.ones(40), -np.ones(40)]))
    assert both.swapped == pytest.approx([both.auc, both.auc])
    assert c2st.compute(y, x, patients).auc == pytest.approx(both.auc)


def test_c2st_keeps_a_patient_in_one_fold() -> None:
    patients = np.repeat(np.arange(30), 3)
    fold = c2st.folds_of(patients, 5, seed=1)
    assert all(len(set(fold[patients == p])) == 1 for p in range(30))
    assert len(set(fold)) == 5
    assert math.isnan(c2st.compute(np.zeros((3, 2)), np.ones((3, 2)), [1, 1, 1]).auc)


def test_total_correlation_worked_numbers() -> None:
    bits = np.array([0, 1] * 8)
    assert total_correlation.compute(np.stack([bits, bits], 1)).value == pytest.approx(1.0)
    four = np.array([(a, b) for a in (0, 1) for b in (0, 1)])
    assert total_correlation.compute(four).value == pytest.approx(0.0)
    assert math.isnan(total_correlation.compute(bits[:, None]).value)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_total_correlation_against_a_dictionary_and_relabelling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.integers(0, 3, (40, 3))
    value = total_correlation.compute(states).value

    def h(keys: list[object]) -> float:
        return -sum(keys.count(k) / len(keys) * math.log2(keys.count(k) / len(keys)) for k in set(keys))

    slow = sum(h(list(c)) for c in states.T) - h([tuple(r) for r in states])
    assert value == pytest.approx(slow, abs=1e-9)
    assert total_correlation.compute(7 - 2 * states[:, ::-1]).value == pytest.approx(value)


def test_total_correlation_null_keeps_margins() -> None:
    rng = np.random.default_rng(9)
    shared = rng.integers(0, 2, 300)
    dependent = np.stack([shared, shared ^ (rng.random(300) < 0.1)], 1)
    result = total_correlation.shuffled(dependent, draws=50, seed=0)
    assert result.observed > result.shuffled.max()
    assert total_correlation.shuffled(rng.integers(0, 2, (300, 2)), draws=50, seed=0).observed < 0.03


def test_kl_chain_worked_numbers() -> None:
    p = np.array([[0.45, 0.05], [0.25, 0.25]])
    q = np.array([[0.4, 0.4], [0.1, 0.1]])
    chain = kl_chain.compute(p, q)
    assert float(chain.total) == pytest.approx(0.407176, abs=1e-6)
    assert float(chain.history) == pytest.approx(0.223144, abs=1e-6)
    assert float(chain.increment) == pytest.approx(0.184032, abs=1e-6)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_kl_chain_against_the_conditional_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(12), 2).reshape(2, 4, 3)
    slow = 0.0
    for t in range(4):
        pt, qt = p[t] / p[t].sum(), q[t] / q[t].sum()
        slow += p[t].sum() * float((pt * np.log(pt / qt)).sum())
    chain = kl_chain.compute(p * 9, q)
    assert float(chain.increment) == pytest.approx(slow, abs=1e-9)
    assert float(chain.history + chain.increment) == pytest.approx(float(chain.total))
    assert float(chain.increment) >= -1e-12
    assert float(kl_chain.compute(p, p).total) == pytest.approx(0)


def test_kl_chain_of_nothing_and_outside_the_support() -> None:
    assert math.isnan(float(kl_chain.compute(np.zeros((2, 2)), np.ones((2, 2))).total))
    assert math.isinf(float(kl_chain.compute(np.ones((2, 2)), np.eye(2)).total))


def test_change_point_worked_numbers() -> None:
    step = change_point.compute([0] * 5 + [5] * 5)
    assert step.ends == (5, 10)
    assert step.drop == pytest.approx(62.5)
    assert change_point.compute([2.0] * 10).ends == (10,)
    assert change_point.compute([1.0, 2.0, 3.0]).ends == (3,)
    assert change_point.compute([]).first is None


def test_change_point_against_ruptures() -> None:
    ruptures = pytest.importorskip("ruptures")
    rng = np.random.default_rng(10)
    for _ in range(20):
        series = rng.normal(size=12)
        theirs = ruptures.Dynp(model="l2", jump=1, min_size=2).fit(series).predict(n_bkps=1)
        assert list(change_point.compute(series).ends) == theirs


def test_segments_of_a_long_series() -> None:
    assert change_point.segments([0.0] * 5 + [5.0] * 5, penalty=1.0) == (5, 10)
    assert change_point.segments([1.0] * 10) == (10,)
    rng = np.random.default_rng(11)
    series = np.concatenate([rng.normal(0, 1, 100), rng.normal(6, 1, 100), rng.normal(0, 1, 100)])
    assert change_point.segments(series) == (100, 200, 300)


@given(seeds, st.floats(-50, 50), st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_change_point_by_brute_force_and_affine(seed: int, shift: float, scale: float) -> None:
    series = np.random.default_rng(seed).normal(size=9)

    def cost(part: np.ndarray) -> float:
        return float(((part - part.mean()) ** 2).sum())

    slow = {k: cost(series) - cost(series[:k]) - cost(series[k:]) for k in range(2, 8)}
    found = change_point.compute(series)
    assert found.first == max(slow, key=slow.__getitem__)
    assert found.drop == pytest.approx(max(slow.values()))
    assert change_point.compute(series * scale + shift).first == found.first
