"""Along the reasoning: step_constancy, states, the KL chain of the report."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.drift import along, permute, states
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.stats import jensen_shannon, step_constancy
from cxr_max.drift.stats.step_constancy import Slots
from cxr_max.schema import FINDINGS


def slots_of(cells: np.ndarray) -> Slots:
    """teachers x trajectories x steps of one cell each; bins = steps."""
    n_u, n_i, n_j = cells.shape
    n = cells.size
    return Slots(
        np.repeat(np.arange(n_u * n_i), n_j), np.repeat(np.arange(n_u), n_i * n_j), np.zeros(n, int),
        np.tile(np.arange(n_j), n_u * n_i), np.ones(n), np.arange(n), cells.ravel(), np.ones(n),
    )  # fmt: skip


def test_curve_worked_numbers() -> None:
    # Two teachers say the same in the first step and never the same in the second.
    cells = np.array([[[0, 0]] * 50, [[0, 1]] * 50])
    result = step_constancy.compute(slots_of(cells), (1, 2, 2, 2), permutations=99, seed=0)
    assert result.curve[0] == pytest.approx(0)
    second = float(jensen_shannon.from_counts(np.array([[50.0, 0], [0, 50]])))
    assert result.curve[1] == pytest.approx(second)
    assert result.deviation == pytest.approx(second / 2)
    assert result.p == pytest.approx(0.01)
    assert result.n_slots == result.n_movable == 200
    assert math.isnan(result.slope)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_curve_against_counting_and_relabelled_teachers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 4, (3, 6, 5))
    slots, shape = slots_of(cells), (1, 5, 3, 4)
    curve = step_constancy.curve(step_constancy.tables(slots, shape))
    for t in range(5):
        counts = np.stack([np.bincount(cells[u, :, t], minlength=4) for u in range(3)]).astype(float)
        assert curve[t] == pytest.approx(float(jensen_shannon.from_counts(counts)))
    relabelled = step_constancy.curve(step_constancy.tables(slots_of(cells[[2, 0, 1]]), shape))
    assert relabelled == pytest.approx(curve)
    order = permute.within_groups(np.full(18, 5), rng)
    moved = step_constancy.tables(slots, shape, order)
    assert moved.sum(axis=-1) == pytest.approx(step_constancy.tables(slots, shape).sum(axis=-1))
    assert moved.sum(axis=1) == pytest.approx(step_constancy.tables(slots, shape).sum(axis=1))


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=7))
@settings(max_examples=40, deadline=None)
def test_slope_is_spearman(curve: list[float]) -> None:
    stats = pytest.importorskip("scipy.stats")
    if len(set(curve)) == 1:
        assert math.isnan(step_constancy.slopes(np.array(curve))[0])
        return
    theirs = stats.spearmanr(np.arange(len(curve)), curve).statistic
    assert step_constancy.slopes(np.array(curve))[0] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("cells", [np.zeros((1, 3, 4), int), np.zeros((2, 0, 4), int)])
def test_curve_of_one_teacher_or_nobody_is_undefined(cells: np.ndarray) -> None:
    result = step_constancy.compute(slots_of(cells), (1, 4, 2, 3), permutations=9)
    assert np.isnan(result.curve).all()
    assert math.isnan(result.p)
    assert math.isnan(result.deviation)
    assert result.change is None


def test_change_point_of_a_planted_step() -> None:
    rng = np.random.default_rng(0)
    same, apart = rng.integers(0, 2, (2, 300, 3)), np.stack([np.zeros((300, 3), int), np.ones((300, 3), int)])
    result = step_constancy.compute(slots_of(np.concatenate([same, apart], axis=2)), (1, 6, 2, 2), permutations=99)
    assert result.change == 3
    assert result.p_change == pytest.approx(0.01)


def test_bearing_steps_have_the_mass_of_their_study(encoded: Encoded) -> None:
    borne = states.bearing(encoded)
    assert (np.diff(borne.row) >= 0).all()
    share = np.bincount(borne.owner, weights=borne.share, minlength=len(borne.row))
    assert share == pytest.approx(np.ones(len(borne.row)))
    study = encoded.study_I[encoded.instance_T[borne.row]]
    key = study * 100 + encoded.teacher_T[borne.row]
    _, code = np.unique(key, return_inverse=True)
    mass = np.bincount(code, weights=borne.weight)
    assert mass == pytest.approx(np.full(len(mass), mass[0]))
    assert borne.lost == 0
    assert ((borne.time > 0) & (borne.time < 1)).all()
    assert set(borne.topic) <= set(range(-1, states.N_TOPICS))


def test_positions_inside_groups() -> None:
    assert states._positions(np.array([5, 5, 3, 5, 5])) == pytest.approx([0.125, 0.375, 0.5, 0.625, 0.875])


def test_history_against_reading_step_by_step(encoded: Encoded) -> None:
    k = 4
    past = states.history(encoded, k)
    label = np.array(encoded.vocabulary.label_K)[encoded.findings.concept]
    rng = np.random.default_rng(1)
    for t in rng.choice(encoded.n_trajectories, 40, replace=False):
        mine = np.flatnonzero((encoded.findings.row == t) & (label >= 0))
        for bin_ in range(k):
            seen: dict[int, set[int]] = {}
            for f in mine:
                when = int((encoded.findings.step[f] + 0.5) / encoded.steps_T[t] * k)
                if when <= bin_:
                    seen.setdefault(int(label[f]), set()).add(int(encoded.findings.status[f]))
            for position in range(len(FINDINGS)):
                s = seen.get(position, set())
                want = 1 if {1, 2} <= s else min(s, default=-1)
                assert past.accumulated[t, position, bin_] == want
    assert (past.new[..., 0] == past.accumulated[..., 0]).all()


def test_kl_of_the_report_adds_up(encoded: Encoded) -> None:
    rows = along.history_rows(encoded, Config(permutations=5))
    value = {(r["series"], r["bin"]): r["value"] for r in rows}
    for t in range(5):
        assert value["KL history", t] + value["KL increment", t] == pytest.approx(value["KL total", t])
        assert value["total correlation", t] > value["total correlation if independent", t]
    assert value["accumulated divergence", 0] == pytest.approx(value["instantaneous divergence", 0])
    assert value["KL history", 0] == pytest.approx(0, abs=1e-3)


def planted(seed: int, gap: float, *, n: int = 150) -> Slots:
    """Seven teachers; in the last of five steps each prefers a finding of its own with probability `gap`."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 10, (7, n, 5))
    own = rng.random((7, n)) < gap
    cells[..., 4] = np.where(own, np.arange(7)[:, None], cells[..., 4])
    return slots_of(cells)


def test_drift_along_the_steps_is_found_when_planted_and_not_when_absent() -> None:
    shape = (1, 5, 7, 10)
    found = [step_constancy.compute(planted(s, 0.25), shape, permutations=99, seed=s).p for s in range(5)]
    absent = [step_constancy.compute(planted(s, 0.0), shape, permutations=99, seed=s).p for s in range(20)]
    assert max(found) <= 0.05
    assert sum(p <= 0.05 for p in absent) <= 4


def test_trends_that_can_be_found() -> None:
    rng = np.random.default_rng(3)
    null = rng.normal(0, 0.01, (199, 5))
    slope = step_constancy.smallest_detectable(null, np.arange(5) / 4, lambda c: np.abs(step_constancy.slopes(c)))
    step = step_constancy.smallest_detectable(null, np.arange(5) >= 2.5, step_constancy.largest_drops)
    assert 0.01 < slope < 0.2
    assert 0.01 < step < 0.1
    fresh = rng.normal(0, 0.01, (4000, 5)) + slope * np.arange(5) / 4
    critical = np.sort(np.abs(step_constancy.slopes(null)))[-10]
    assert (np.abs(step_constancy.slopes(fresh)) > critical).mean() == pytest.approx(0.8, abs=0.1)
    few = step_constancy.smallest_detectable(null[:, :3], np.arange(3) / 2, lambda c: np.abs(step_constancy.slopes(c)))
    assert math.isnan(few), "a rank correlation over three bins is extreme too often by chance"
    none = step_constancy.smallest_detectable(null[:0], np.arange(5), step_constancy.largest_drops)
    assert math.isnan(none)
