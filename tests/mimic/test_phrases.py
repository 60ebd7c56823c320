"""The index of phrases against a slow version that compares words one by one, and its ranks at scale."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.mimic.leaks.phrases import FEW, build
from cxr_max.mimic.leaks.words import BREAK, CHUNK, LONG, SHINGLE, read, shingles, undress, unnumber, visible


def slow(reports: list[tuple[int, bytes]], text: bytes) -> list[bool]:
    """Which words of a text are part of a leak, by the definition."""
    owners = defaultdict(set)
    for patient, report in reports:
        words = report.split()
        for n in range(SHINGLE, LONG + 1):
            for i in range(len(words) - n + 1):
                owners[tuple(words[i : i + n])].add(patient)
    words = text.split()
    leak = [False] * len(words)
    for i in range(len(words)):
        for n in range(SHINGLE, min(LONG, len(words) - i) + 1):
            holders = owners.get(tuple(words[i : i + n]), ())
            if holders and (n == LONG or len(holders) <= FEW):
                leak[i : i + n] = [True] * n
    return leak


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[int, bytes]], bytes]:
    vocabulary = [f"w{i}" for i in range(draw(st.sampled_from([2, 5, 40])))]
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    phrases = [list(rng.choice(vocabulary, rng.integers(5, 45))) for _ in range(6)]

    def text() -> bytes:
        out: list[str] = []
        for _ in range(rng.integers(0, 6)):
            phrase = phrases[rng.integers(6)]
            start = rng.integers(len(phrase)) if rng.random() < 0.4 else 0
            out.extend(phrase[start:])
            out.extend(rng.choice(vocabulary, rng.integers(0, 2)))
        return " ".join(out).encode()

    return [(int(rng.integers(1, 8)), text()) for _ in range(rng.integers(0, 25))], text() + b" " + text()


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_leaks_are_those_of_the_definition(world: tuple[list[tuple[int, bytes]], bytes]) -> None:
    reports, text = world
    words = read(text)
    runs = build(reports).match(words)
    found = [False] * words.hashes.size
    for first, last in zip(runs.first, runs.last, strict=True):
        found[first:last] = [True] * (last - first)
    assert found == slow(reports, text)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b"The Lungs, are CLEAR.", b"the lungs are\r\nclear"),
        (b"[edema](http://x.org/a) now", b"edema now"),
        (b"no ___ effusion", b"no effusion"),
        ("\ufb01ndings\u00a0normal".encode(), b"findings normal"),
    ],
)
def test_dress_is_folded_away(a: bytes, b: bytes) -> None:
    assert list(read(visible(a)).hashes) == list(read(b).hashes)


def test_a_number_within_a_line_stays_and_words_differ_from_each_other() -> None:
    assert list(read(b"2 cm").hashes) != list(read(b"3 cm").hashes)
    words = {f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "0123456789"}
    assert np.unique(read(" ".join(words).encode()).hashes).size == 1000


def test_list_numbers_can_be_taken_away() -> None:
    assert unnumber(b"> 1. Edema.\n  2) 3 cm") == b"     Edema.\n     3 cm"
    assert unnumber(b"in 2. Edema of 3.5 cm") is None
    assert unnumber(b"12.5 cm\n1.5 cm") is None


def test_undress_keeps_lines_and_leaves_plain_text_alone() -> None:
    assert undress(b"a < 5 mm & b\n") is None
    assert undress(b"<p>a<br/>\nb&nbsp;c</p>").split() == [b"a", b"b", b"c"]  # type: ignore[union-attr]
    assert undress(b"x<div\nclass='a'>y").count(b"\n") == 1  # type: ignore[union-attr]


def test_rows_bound_runs() -> None:
    words = read(BREAK.join([b"a b c", b"", b"d"]))
    assert list(words.limits) == [3, 3, 3, 4]
    assert list(words.rows) == [0, 0, 0, 2]
    assert read(b"").hashes.size == 0
    assert shingles(read(b"a b").hashes).size == 0


def test_patients_are_counted_over_reports_in_any_order() -> None:
    phrase = b" ".join(b"p%d" % i for i in range(15))
    for owners, leaks in (([1, 1, 1, 1], 1), ([1, 2, 1, 2, 1], 1), ([1, 2, 1, 3], 0), ([3, 1, 1, 1, 2], 0)):
        index = build((o, b"x%d " % i + phrase + b" y%d" % i) for i, o in enumerate(owners))
        assert len(index.match(read(phrase)).first) == leaks
        assert (index.n_patients, index.n_reports) == (len(set(owners)), len(owners))


def test_batches_of_reports_make_one_index() -> None:
    filler = (b"x" * 1000 + b" ") * (CHUNK // 8000)
    reports = [(i, filler + b" ".join(b"r%dw%d" % (i, k) for k in range(40))) for i in range(12)]
    index = build(reports)
    for i in (0, 5, 11):
        runs = index.match(read(b" ".join(b"r%dw%d" % (i, k) for k in range(3, 38))))
        assert [(int(a), int(b)) for a, b in zip(runs.first, runs.last, strict=True)] == [(0, 35)]
