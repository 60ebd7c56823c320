"""Sets of findings: finding_alignment, echo, beyond_prompt, matched_shuffle, grounding, outlier_score,
consensus_strength."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.drift import bits
from cxr_max.drift.stats import (
    beyond_prompt,
    consensus_strength,
    echo,
    finding_alignment,
    grounding,
    matched_shuffle,
    outlier_score,
)

NAN = float("nan")
seeds = st.integers(0, 2**32 - 1)
K, OPEN, LEFT, RIGHT = 4, 0, 1, 2
PE, ATEL = 0, 1


def sets_of(*rows: set[tuple[int, int]]) -> bits.Sets:
    """Rows of (concept, side) with cells concept * 3 + side; a sided finding entails the open one."""
    own, entailed = np.zeros((2, len(rows), K * 3), dtype=bool)
    for i, row in enumerate(rows):
        for concept, side in row:
            own[i, concept * 3 + side] = True
            entailed[i, [concept * 3 + side, concept * 3 + OPEN]] = True
    return bits.Sets(bits.pack(own), bits.pack(entailed))


def slow(candidate: set[tuple[int, int]], reference: set[tuple[int, int]]) -> tuple[int, int, int, int]:
    def entailed(p: tuple[int, int], by: set[tuple[int, int]]) -> bool:
        return any(k == p[0] and p[1] in (OPEN, s) for k, s in by)

    return (
        sum(entailed(p, reference) for p in candidate), len(candidate),
        sum(entailed(r, candidate) for r in reference), len(reference),
    )  # fmt: skip


@given(st.lists(st.lists(st.booleans(), min_size=130, max_size=130), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_packing_and_counting(rows: list[list[bool]]) -> None:
    cells = np.array(rows)
    words = bits.pack(cells)
    assert (bits.unpack(words, 130) == cells).all()
    assert list(bits.count(words)) == [sum(r) for r in rows]
    assert list(bits._BITS_OF[words.view(np.uint16)].sum(axis=1)) == [sum(r) for r in rows]


@pytest.mark.parametrize(
    ("candidate", "reference", "precision", "recall"),
    [
        ({(PE, LEFT)}, {(PE, LEFT), (PE, RIGHT)}, 1, 0.5),
        ({(ATEL, RIGHT)}, {(ATEL, LEFT)}, 0, 0),
        ({(PE, OPEN)}, {(PE, LEFT)}, 1, 0),
        ({(PE, LEFT)}, {(PE, OPEN)}, 0, 1),
        (set(), {(PE, LEFT)}, NAN, 0),
        ({(PE, LEFT)}, set(), 0, NAN),
        (set(), set(), NAN, NAN),
    ],
)
def test_alignment_worked_numbers(
    candidate: set[tuple[int, int]], reference: set[tuple[int, int]], precision: float, recall: float
) -> None:
    overlap = finding_alignment.compute(sets_of(candidate), sets_of(reference))
    assert float(overlap.precision[0]) == pytest.approx(precision, nan_ok=True)
    assert float(overlap.recall[0]) == pytest.approx(recall, nan_ok=True)


random_sets = st.sets(st.tuples(st.integers(0, K - 1), st.integers(0, 2)), max_size=6)


@given(st.lists(st.tuples(random_sets, random_sets), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_alignment_against_loops_and_swapping(pairs: list[tuple[set[tuple[int, int]], set[tuple[int, int]]]]) -> None:
    candidates, references = sets_of(*(c for c, _ in pairs)), sets_of(*(r for _, r in pairs))
    overlap = finding_alignment.compute(candidates, references)
    assert [tuple(int(part[i]) for part in overlap) for i in range(len(pairs))] == [slow(c, r) for c, r in pairs]
    swapped = finding_alignment.compute(references, candidates)
    assert swapped.precision == pytest.approx(overlap.recall, nan_ok=True)


@given(random_sets, random_sets, st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_adding_an_unsupported_concept_never_helps(
    candidate: set[tuple[int, int]], reference: set[tuple[int, int]], side: int
) -> None:
    reference = {r for r in reference if r[0] != K - 1}
    before = finding_alignment.compute(sets_of(candidate), sets_of(reference))
    after = finding_alignment.compute(sets_of(candidate | {(K - 1, side)}), sets_of(reference))
    assert after.recall == pytest.approx(before.recall, nan_ok=True)
    if candidate:
        assert after.precision[0] <= before.precision[0] + 1e-12


def test_f1_of_the_paper_and_its_edges() -> None:
    values = finding_alignment.harmonic(np.array([0.0, NAN, 0.5]), np.array([0.0, 0.3, 1.0]))
    assert values == pytest.approx([0, NAN, 2 / 3], nan_ok=True)


def test_echo_repeats_the_prompt() -> None:
    prompted = np.zeros((3, K * 3), dtype=bool)
    prompted[0, PE * 3] = prompted[1, PE * 3] = prompted[1, ATEL * 3] = True
    overlap = echo.compute(prompted, sets_of({(PE, LEFT)}, {(PE, OPEN)}, {(PE, LEFT)}))
    assert overlap.precision == pytest.approx([1, 0.5, NAN], nan_ok=True)
    assert overlap.recall == pytest.approx([0, 1, 0])


@given(random_sets, random_sets)
@settings(max_examples=30, deadline=None)
def test_echo_equals_scoring_the_prompt_as_a_candidate(
    prompt: set[tuple[int, int]], reference: set[tuple[int, int]]
) -> None:
    open_prompt = {(k, OPEN) for k, _ in prompt}
    cells = np.zeros((1, K * 3), dtype=bool)
    cells[0, [k * 3 for k, _ in open_prompt]] = True
    assert tuple(int(p[0]) for p in echo.compute(cells, sets_of(reference))) == slow(open_prompt, reference)


@given(random_sets, random_sets, st.sets(st.integers(0, K - 1)))
@settings(max_examples=40, deadline=None)
def test_beyond_prompt_equals_removing_by_hand(
    candidate: set[tuple[int, int]], reference: set[tuple[int, int]], prompted: set[int]
) -> None:
    cells = np.repeat([k in prompted for k in range(K)], 3)[None]
    overlap = beyond_prompt.compute(sets_of(candidate), sets_of(reference), cells)
    kept = [{f for f in s if f[0] not in prompted} for s in (candidate, reference)]
    assert tuple(int(p[0]) for p in overlap) == slow(*kept)


def test_beyond_prompt_worked_numbers() -> None:
    cells = np.repeat([True, False, False, False], 3)[None]
    overlap = beyond_prompt.compute(sets_of({(PE, LEFT), (ATEL, OPEN)}), sets_of({(PE, LEFT), (ATEL, LEFT)}), cells)
    assert (float(overlap.precision[0]), float(overlap.recall[0])) == (1.0, 0.0)


@given(seeds, st.integers(1, 40), st.integers(1, 4), st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_partners_are_of_the_same_group_and_another_patient(seed: int, n: int, groups: int, patients: int) -> None:
    rng = np.random.default_rng(seed)
    group, patient = rng.integers(0, groups, n), rng.integers(0, patients, n)
    partner = matched_shuffle.partners(group, patient, rng)
    for i, j in enumerate(partner):
        others = (group == group[i]) & (patient != patient[i])
        assert (j >= 0) == others.any()
        assert j < 0 or others[j]
    for g in range(groups):
        inside = np.flatnonzero(group == g)
        if len(inside) and 2 * np.bincount(patient[inside]).max() <= len(inside):
            assert sorted(partner[inside]) == sorted(inside)


def test_partners_are_uniform_over_other_patients() -> None:
    rng = np.random.default_rng(0)
    hits = np.zeros(5)
    for _ in range(4000):
        hits[matched_shuffle.partners(np.zeros(5), np.arange(5), rng)[0]] += 1
    assert hits[0] == 0
    assert hits[1:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_matched_shuffle_worked_numbers_and_slow_version() -> None:
    reports = [{(PE, LEFT)}, {(PE, RIGHT)}, {(ATEL, OPEN)}, {(PE, LEFT)}]
    candidates = [{(PE, LEFT)}, {(PE, RIGHT)}, {(ATEL, OPEN)}, {(PE, OPEN)}]
    group, patient = np.array([0, 0, 1, 0]), np.array([1, 2, 3, 4])
    result = matched_shuffle.compute(
        sets_of(*candidates), sets_of(*reports), np.arange(4), group, group, patient, plan=(400, 1)
    )
    assert list(result.matched) == [True, True, False, True]
    assert result.precision == pytest.approx([0.5, 0, NAN, 1], abs=0.08, nan_ok=True)
    slow_sum, rng = np.zeros(4), np.random.default_rng(1)
    for _ in range(400):
        fine = matched_shuffle.partners(group, patient, rng)
        matched_shuffle.partners(group, patient, rng)
        for i, j in enumerate(fine):
            slow_sum[i] += slow(candidates[i], reports[j])[0] if j >= 0 else NAN
    assert result.precision == pytest.approx(slow_sum / 400, nan_ok=True)
    assert np.nanmean(result.draws_precision) == pytest.approx(np.nanmean(result.precision))


def test_matched_shuffle_falls_back_to_the_coarser_group() -> None:
    partner = next(
        matched_shuffle.draw_partners(np.array([0, 1, 1]), np.zeros(3), np.array([1, 2, 3]), draws=1, seed=0)
    )
    assert partner[0] in (1, 2)
    assert list(partner[1:]) == [2, 1]


def test_grounding_worked_numbers() -> None:
    candidate = np.array([[[1, 0]], [[0, 1]], [[1, 1]], [[1, 0]], [[1, 0]]], dtype=bool)
    reference = np.array([[[1, 0]], [[1, 0]], [[1, 0]], [[1, 1]], [[0, 1]]], dtype=bool)
    prompted = np.array([[1], [1], [1], [1], [0]], dtype=bool)
    result = grounding.compute(candidate, reference, prompted)
    assert result.eligible[:, 0].tolist() == [True, True, True, False, False]
    assert result.answered[:, 0].tolist() == [True, True, False, False, False]
    assert result.accuracy == 0.5
    assert grounding.side_prior(reference) == pytest.approx([0.75])
    assert math.isnan(grounding.compute(candidate, reference, ~prompted & False).accuracy)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_grounding_is_unchanged_by_mirroring_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidate, reference = rng.random((2, 20, 3, 2)) < 0.5
    prompted = rng.random((20, 3)) < 0.7
    a = grounding.compute(candidate, reference, prompted)
    b = grounding.compute(candidate[..., ::-1], reference[..., ::-1], prompted)
    assert a.accuracy == pytest.approx(b.accuracy, nan_ok=True)
    mirrored = grounding.compute(candidate[..., ::-1], reference, prompted)
    assert a.correct.sum() + mirrored.correct.sum() == a.answered.sum()
    hits = answered = 0
    for t in range(20):
        for k in range(3):
            left_right, truth = tuple(candidate[t, k]), tuple(reference[t, k])
            if prompted[t, k] and sum(left_right) == sum(truth) == 1:
                answered += 1
                hits += left_right == truth
    assert (a.correct.sum(), a.answered.sum()) == (hits, answered)


def test_outliers_worked_numbers() -> None:
    sets = np.array([[[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1]]], dtype=bool)
    given = np.ones((1, 4), dtype=bool)
    result = outlier_score.compute(sets, given)
    assert result.distance[0] == pytest.approx([0, 0, 0, 1])
    assert result.z[0] == pytest.approx([0, 0, 0, 1 / outlier_score.EPSILON])
    empty = outlier_score.compute(np.zeros((1, 3, 4), dtype=bool), np.ones((1, 3), dtype=bool))
    assert empty.distance[0] == pytest.approx([0, 0, 0])


def test_outliers_without_anyone_to_compare_with() -> None:
    result = outlier_score.compute(np.ones((1, 3, 2), dtype=bool), np.array([[True, False, False]]))
    assert np.isnan(result.distance).all()
    assert np.isnan(result.z).all()


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_outliers_and_consensus_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets, given = rng.random((6, 5, 7)) < 0.4, rng.random((6, 5)) < 0.8
    result = outlier_score.compute(sets, given)
    consensus = consensus_strength.compute(sets, given)
    for i in range(6):
        here = [u for u in range(5) if given[i, u]]
        for u in range(5):
            others = [w for w in here if w != u]
            if u not in here or not others:
                assert math.isnan(result.distance[i, u])
                continue
            own = {c for c in range(7) if sets[i, u, c]}
            votes = {c: sum(bool(sets[i, w, c]) for w in others) for c in range(7)}
            major = {c for c, v in votes.items() if v and v >= len(others) / 2}
            want = 1 - len(own & major) / len(own | major) if own | major else 0.0
            assert result.distance[i, u] == pytest.approx(want)
        cells = [[bool(sets[i, u, c]) for u in here] for c in range(7)]
        pairs = [
            np.mean([a == b for x, a in enumerate(v) for y, b in enumerate(v) if x != y])
            for v in cells if any(v) and len(here) > 1
        ]  # fmt: skip
        assert consensus[i] == pytest.approx(float(np.mean(pairs)) if pairs else NAN, nan_ok=True)
    order = rng.permutation(5)
    assert outlier_score.compute(sets[:, order], given[:, order]).z == pytest.approx(result.z[:, order], nan_ok=True)
    assert consensus_strength.compute(sets[:, order], given[:, order]) == pytest.approx(consensus, nan_ok=True)


def test_consensus_worked_numbers() -> None:
    sets = np.array([[[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]], dtype=bool)
    assert consensus_strength.compute(sets, np.ones((2, 2), dtype=bool)) == pytest.approx([0.5, NAN], nan_ok=True)
