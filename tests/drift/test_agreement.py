"""Agreement: krippendorff_alpha, fleiss_kappa, cohen_kappa, gwet_ac1, pabak, vote_entropy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxr_max.drift.stats import cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha, pabak, vote_entropy

NAN = float("nan")
SEVEN = np.array(
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0], [NAN, NAN, 0, 0]]
)  # rows are coders
WIKIPEDIA_ALPHA = [
    [NAN] * 5 + [3, 4, 1, 2, 1, 1, 3, 3, NAN, 3],
    [1, NAN, 2, 1, 3, 3, 4, 3, NAN, NAN, NAN, NAN, NAN, NAN, NAN],
    [NAN, NAN, 2, 1, 3, 4, 4, NAN, 2, 1, 1, 3, 3, NAN, 4],
]
WIKIPEDIA_FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip

ratings = hnp.arrays(
    float, st.tuples(st.integers(1, 12), st.integers(2, 7)), elements=st.sampled_from([0.0, 1.0, 2.0, NAN])
)


def test_alpha_worked_numbers() -> None:
    assert krippendorff_alpha.compute(np.array(WIKIPEDIA_ALPHA).T).value == pytest.approx(0.691358, abs=1e-6)
    seven = krippendorff_alpha.compute(SEVEN.T)
    assert seven.value == pytest.approx(0.606061, abs=1e-6)
    assert (seven.n, seven.n_undefined) == (4, 0)
    assert krippendorff_alpha.compute(SEVEN[:6].T).value == pytest.approx(0.581818, abs=1e-6)


def test_alpha_of_constant_data_is_undefined_with_a_reason() -> None:
    result = krippendorff_alpha.compute(np.ones((5, 3)))
    assert math.isnan(result.value)
    assert "same" in result.reason
    assert result.n == 5


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), np.full((4, 3), NAN), np.array([[1.0, NAN], [NAN, 0.0]])])
def test_agreement_of_nothing_is_undefined(empty: np.ndarray) -> None:
    for statistic in (krippendorff_alpha, fleiss_kappa, gwet_ac1, pabak):
        result = statistic.compute(empty)
        assert math.isnan(result.value)
        assert result.reason
        assert result.n_undefined == len(empty)


def slow_alpha(units: np.ndarray) -> float:
    """Observed and expected disagreement from all pairs of values, as the definition reads."""
    rows = [[v for v in row if not math.isnan(v)] for row in units]
    rows = [r for r in rows if len(r) >= 2]
    values = [v for r in rows for v in r]
    n = len(values)
    if n == 0:
        return NAN
    observed = sum(sum(a != b for a, b in itertools.permutations(r, 2)) / (len(r) - 1) for r in rows) / n
    expected = sum(a != b for a, b in itertools.permutations(values, 2)) / (n * (n - 1))
    return NAN if expected == 0 else 1 - observed / expected


@given(ratings)
@settings(max_examples=60, deadline=None)
def test_alpha_against_all_pairs(units: np.ndarray) -> None:
    assert krippendorff_alpha.compute(units).value == pytest.approx(slow_alpha(units), abs=1e-9, nan_ok=True)


@given(ratings, st.randoms())
@settings(max_examples=40, deadline=None)
def test_agreement_does_not_depend_on_order_or_names(units: np.ndarray, random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    other = 10 - 3 * rng.permuted(units, axis=1)[rng.permutation(len(units))]
    for statistic in (krippendorff_alpha, fleiss_kappa, gwet_ac1, pabak):
        a, b = statistic.compute(units).value, statistic.compute(other).value
        assert a == pytest.approx(b, abs=1e-9, nan_ok=True)
        assert math.isnan(a) or a <= 1 + 1e-9


def test_sums_of_patients_give_the_whole() -> None:
    rng = np.random.default_rng(0)
    counts = krippendorff_alpha.rating_counts(rng.integers(0, 3, (40, 7)).astype(float))
    halves = krippendorff_alpha.terms(counts[:15]).sum(0) + krippendorff_alpha.terms(counts[15:]).sum(0)
    assert krippendorff_alpha.from_sums(halves) == pytest.approx(
        krippendorff_alpha.from_sums(krippendorff_alpha.terms(counts).sum(0))
    )


def test_fleiss_worked_numbers() -> None:
    assert fleiss_kappa.compute(SEVEN[:6].T).value == pytest.approx(0.563636, abs=1e-6)
    parts = fleiss_kappa.terms(np.array(WIKIPEDIA_FLEISS, float), 14)
    assert float(fleiss_kappa.from_sums(parts.sum(0))) == pytest.approx(0.209931, abs=1e-6)


def test_fleiss_leaves_out_incomplete_rows() -> None:
    result = fleiss_kappa.compute(SEVEN.T)
    assert (result.n, result.n_undefined) == (2, 2)


def test_fleiss_against_statsmodels() -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(1)
    counts = rng.multinomial(7, [0.5, 0.3, 0.2], size=50)
    ours = float(fleiss_kappa.from_sums(fleiss_kappa.terms(counts.astype(float), 7).sum(0)))
    assert ours == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)


def test_cohen_worked_numbers() -> None:
    assert cohen_kappa.compute([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2]).value == pytest.approx(0.428571, abs=1e-6)
    constant = cohen_kappa.compute([1, 1, 1], [1, 1, 1])
    assert math.isnan(constant.value)
    assert "constant" in constant.reason


PREVALENT = [(1, 1)] * 45 + [(1, 0)] * 3 + [(0, 1)] * 2


def test_kappa_collapses_where_ac1_does_not() -> None:
    a, b = np.array(PREVALENT, float).T
    assert cohen_kappa.compute(a, b).value == pytest.approx(-0.050420, abs=1e-6)
    assert gwet_ac1.compute(np.array(PREVALENT)).value == pytest.approx(0.889503, abs=1e-6)
    assert pabak.compute(np.array(PREVALENT)).value == pytest.approx(0.8)


def test_cohen_against_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, (2, 80)).astype(float)
    assert cohen_kappa.compute(a, b).value == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)


def test_cohen_is_symmetric_and_counts_missing() -> None:
    a, b = np.array([0, 1, NAN, 1, 0, 1.0]), np.array([0, 1, 1, NAN, 1, 1.0])
    assert cohen_kappa.compute(a, b) == cohen_kappa.compute(b, a)
    assert cohen_kappa.compute(a, b)[1:3] == (4, 2)
    assert math.isnan(cohen_kappa.compute([NAN], [1.0]).value)


def slow_ac1(units: np.ndarray, k: int) -> tuple[float, float]:
    """AC1 and pair agreement by loops."""
    rows = [[v for v in row if not math.isnan(v)] for row in units]
    agree = [np.mean([a == b for a, b in itertools.permutations(r, 2)]) for r in rows if len(r) >= 2]
    rated = [r for r in rows if r]
    if not agree:
        return NAN, NAN
    shares = [np.mean([r.count(c) / len(r) for r in rated]) for c in sorted({v for r in rated for v in r})]
    expected = sum(s * (1 - s) for s in shares) / (k - 1)
    observed = float(np.mean(agree))
    return (observed - expected) / (1 - expected), observed


@given(ratings)
@settings(max_examples=60, deadline=None)
def test_ac1_and_pabak_against_loops(units: np.ndarray) -> None:
    ac1, observed = slow_ac1(units, 3)
    assert gwet_ac1.compute(units, n_categories=3).value == pytest.approx(ac1, abs=1e-9, nan_ok=True)
    assert pabak.compute(units, n_categories=3).value == pytest.approx((3 * observed - 1) / 2, abs=1e-9, nan_ok=True)


def test_full_agreement_is_one() -> None:
    units = np.repeat(np.array([[0.0], [1.0], [2.0]]), 4, axis=1)
    for statistic in (krippendorff_alpha, fleiss_kappa, gwet_ac1, pabak):
        assert statistic.compute(units).value == pytest.approx(1.0)


def test_votes_worked_numbers() -> None:
    votes = vote_entropy.compute(np.arange(4), 7)
    assert votes.entropy == pytest.approx([0, 0.591673, 0.863121, 0.985228], abs=1e-6)
    assert votes.agreement == pytest.approx([1, 0.714286, 0.523810, 0.428571], abs=1e-6)


@given(st.integers(0, 9), st.integers(0, 9))
def test_votes_against_pairs_and_symmetry(yes: int, no: int) -> None:
    votes = vote_entropy.compute(yes, yes + no)
    swapped = vote_entropy.compute(no, yes + no)
    assert float(votes.entropy) == pytest.approx(float(swapped.entropy), nan_ok=True)
    ballots = [1] * yes + [0] * no
    pairs = [a == b for a, b in itertools.combinations(ballots, 2)]
    slow = float(np.mean(pairs)) if pairs else NAN
    assert float(votes.agreement) == pytest.approx(slow, nan_ok=True)
    assert math.isnan(float(votes.entropy)) == (yes + no == 0)
