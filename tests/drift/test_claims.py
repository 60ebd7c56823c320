"""Along the reasoning, given the kind of statement: disagreement_trend, claims, and the worlds that tell it apart."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import _null_worlds as null_worlds
from cxr_max.drift import along, claims
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.stats import disagreement_trend, step_constancy
from cxr_max.drift.stats.disagreement_trend import Claims

WORLDS = 40


def simple(disagreement: list[float], *, patients: int = 20) -> Claims:
    """One text of these statements per patient, all concepts of one kind."""
    n = len(disagreement)
    text = np.repeat(np.arange(patients), n)
    return Claims(
        text, text, np.zeros(len(text), dtype=np.int64), np.tile(np.arange(n), patients),
        np.tile(np.array(disagreement), patients), np.ones(len(text)),
    )  # fmt: skip


def moved(said: Claims, **changed: np.ndarray) -> Claims:
    return said._replace(**changed)


def test_worked_numbers() -> None:
    # Places -1/3, 0, 1/3; disagreement 0, .3, .6: slope .9 per block, the same in every patient.
    found = disagreement_trend.compute(simple([0.0, 0.3, 0.6]), permutations=99, draws=50)
    assert found.slope == pytest.approx(0.9)
    assert (found.low, found.high) == (pytest.approx(0.9), pytest.approx(0.9))
    assert found.p == pytest.approx(0.01)
    assert (found.n, found.n_patients) == (60, 20)
    flat = disagreement_trend.compute(simple([0.2, 0.9, 0.2]), permutations=99, draws=50)
    assert math.isnan(flat.p)
    assert flat.n_patients == 0


def test_equal_places_share_their_rank() -> None:
    centre, size = disagreement_trend.centred_ranks(np.array([7, 7, 7, 2, 7]), np.array([4, 1, 4, 0, 9]))
    assert centre == pytest.approx([0.0, -0.375, 0.0, 0.0, 0.375])
    assert size.tolist() == [4, 4, 4, 1, 4]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_reversal_turns_the_slope_and_keeps_the_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 120
    patient = np.sort(rng.integers(0, 12, n))
    said = Claims(
        patient, patient * 3 + rng.integers(0, 3, n), rng.integers(0, 15, n), rng.integers(0, 9, n),
        rng.integers(0, 7, n) / 6, 1.0 + patient % 2,
    )  # fmt: skip
    one = disagreement_trend.compute(said, permutations=199, draws=20, seed=1)
    back = disagreement_trend.compute(moved(said, place=-said.place), permutations=199, draws=20, seed=1)
    assert back.slope == pytest.approx(-one.slope, abs=1e-9)
    assert back.p == pytest.approx(one.p)
    order = rng.permutation(n)
    shuffled = Claims(*(column[order] for column in said))
    again = disagreement_trend.compute(shuffled, permutations=199, draws=20, seed=1)
    assert (again.slope, again.p) == (pytest.approx(one.slope), pytest.approx(one.p))
    found = disagreement_trend.terms(said)
    assert np.bincount(said.block, weights=found.centre) == pytest.approx(0)
    assert np.bincount(said.block, weights=found.excess * said.weight) == pytest.approx(0)


def test_the_level_of_a_kind_does_not_move_the_test() -> None:
    rng = np.random.default_rng(4)
    said = null_worlds.claims_of(null_worlds.draw("ordered", 40, (4,)))
    level = rng.random(int(said.kind.max()) + 1)[said.kind] + 10.0 * (said.block % 2)
    one, other = (
        disagreement_trend.compute(c, permutations=99, draws=0)
        for c in (said, moved(said, disagreement=said.disagreement + level))
    )
    assert other.slope == pytest.approx(one.slope)
    assert other.p == one.p


def rejections(kind: str, worlds: int = WORLDS) -> tuple[int, int]:
    """Worlds without drift in which the trend of disagreement rejects at .05, and the permutation of all steps does."""
    trend = steps = 0
    for r in range(worlds):
        world = null_worlds.draw(kind, 40, (31, r))
        found = disagreement_trend.compute(null_worlds.claims_of(world), permutations=99, draws=0, seed=r)
        trend += found.p <= 0.05
        steps += r < 5 and step_constancy.compute(world.slots, world.shape, permutations=39, seed=r).p <= 0.05
    return trend, steps


@pytest.mark.parametrize("kind", ["ordered", "unnamed"])
def test_where_kinds_stand_in_order_only_the_trend_given_the_kind_holds(kind: str) -> None:
    trend, steps = rejections(kind)
    assert steps == 5, "permuting steps over kinds takes the order of kinds for drift"
    # Seven or more of forty have probability .003 at a rate of .05.
    assert trend <= 6


@pytest.mark.parametrize("kind", ["stationary", "sections"])
def test_without_an_order_of_kinds_it_holds_as_well(kind: str) -> None:
    assert rejections(kind)[0] <= 6


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_drift_is_found_where_kinds_stand_in_order(sign: int) -> None:
    for seed in range(5):
        world = null_worlds.draw("ordered", 160, (57, seed))
        rng = np.random.default_rng(seed)
        time = world.step / world.step.max()
        wrong = rng.random(len(time)) < 0.4 * (time if sign > 0 else 1 - time)
        cells = np.where(wrong, rng.integers(0, null_worlds.CELLS, len(time)), world.slots.cell)
        said = null_worlds.claims_of(world._replace(slots=world.slots._replace(cell=cells)))
        found = disagreement_trend.compute(said, permutations=99, draws=0, seed=seed)
        assert found.p <= 0.05
        assert found.slope * sign > 0


def test_statements_of_a_release_against_counting(encoded: Encoded) -> None:
    said = claims.of_encoded(encoded)
    found = encoded.findings
    affirmed: dict[tuple[int, int], set[int]] = {}
    speaking: dict[int, set[int]] = {}
    for t in range(encoded.n_trajectories):
        if not encoded.refusal_T[t]:
            speaking.setdefault(int(encoded.instance_T[t]), set()).add(t)
    for row, concept, status in zip(found.row, found.concept, found.status, strict=True):
        if status != 2:
            affirmed.setdefault((int(row), int(concept)), set()).add(int(row))
    texts = [t for t in range(encoded.n_trajectories) if not encoded.refusal_T[t]]
    n_u, n_k = len(encoded.vocabulary.teachers), int(found.concept.max()) + 1
    rng = np.random.default_rng(0)
    for a in rng.choice(len(said.kind), 200, replace=False):
        denied = bool(said.kind[a] % 2)
        concept = int(said.kind[a] // 2 % n_k)
        row = texts[int(said.block[a] // 6)]
        others = speaking[int(encoded.instance_T[row])] - {row}
        agree = sum((o, concept) in affirmed for o in others)
        want = agree / len(others) if denied else 1 - agree / len(others)
        assert said.disagreement[a] == pytest.approx(want)
        assert int(said.kind[a] // 2 // n_k % n_u) == encoded.teacher_T[row]
        mine = (found.row == row) & (found.step == said.place[a]) & (found.concept == concept)
        assert ((found.status[mine] == 2) == denied).any()


def test_every_study_weighs_the_same_for_a_teacher(encoded: Encoded) -> None:
    said = claims.of_encoded(encoded)
    texts = np.flatnonzero(~encoded.refusal_T)[said.block // 6]
    study = encoded.study_I[encoded.instance_T[texts]]
    _, code = np.unique(np.stack([study, encoded.teacher_T[texts]]), axis=1, return_inverse=True)
    mass = np.bincount(code.ravel(), weights=said.weight)
    assert mass == pytest.approx(np.full(len(mass), mass[0]))


def test_the_curve_of_a_release_and_its_test(encoded: Encoded) -> None:
    trend, rows = along.disagreement(encoded, Config(draws=50, permutations=19))
    values = [r["value"] for r in rows if r["series"] == "disagreement"]
    assert len(values) == 3
    assert all(0 <= v <= 1 for v in values)
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows if r["series"] == "disagreement")
    assert 0 < trend.p <= 1
    assert trend.low <= trend.slope <= trend.high
    assert trend.detectable > 0


def test_one_teacher_or_nobody_has_no_trend(encoded: Encoded) -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = Claims(none, none, none, none, np.zeros(0), np.zeros(0))
    said = claims.of_encoded(encoded)
    text = claims.Statements(*(np.arange(4),) * 3, np.zeros(4, bool), np.zeros(4, np.int64), np.ones(4, bool))
    zeros = np.zeros(4, dtype=np.int64)
    alone = claims.build(text, claims.Texts(np.arange(4), zeros, zeros, zeros, zeros))
    assert len(alone.kind) == 0
    for made in (empty, alone, moved(said, block=np.arange(len(said.block)))):
        found = disagreement_trend.compute(made, permutations=9, draws=9)
        assert math.isnan(found.slope)
        assert math.isnan(found.p)
        trend, rows = along.disagreement(encoded, Config(draws=9, permutations=9), made)
        assert math.isnan(trend.p)
        assert all(math.isnan(r["value"]) for r in rows)
