"""Hostile and very long input: time, crashes, spans."""

import random
import time

import pytest

from cxr_max import findings
from tests.findings.test_properties import WORDS, check

MEGABYTE, SECONDS = 1_000_000, 2.0
PIECES = (
    "no effusion, ", "effusion ", "left ", "no ", "or effusion ", "- ", "(", " ", "\n", ">", "*", "**a", "# ", "1. ",
    "A", "effusion. ", "opacity and left ", "left and right opacity, ", "heart enlarged ", "heart, lung, mediastinum, ",
    "may be ", "a:b ", "**x:** ", "|a|b|\n", "no effusion\n", ",", "..", ". ", "XXXX ", "is ", "which ", "typical of ",
    "İ ", "a.b", "A.Bc", "[", "__a", "1.5 ", "\t", "'", " -\n", " 1) (a) ", "small left effusion, ", "normal heart ",
    "i am not ", "e.g. ", "a. 1. ", "no pneumothorax and small ", "heart is normal ",
)  # fmt: skip


def run(text: str) -> float:
    begun = time.process_time()
    findings.extract(text)
    return time.process_time() - begun


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    """A repeated piece of 40 kB takes at most its share of two seconds per megabyte, with room for a busy machine."""
    text = (piece * (40_000 // len(piece) + 1))[:40_000]
    findings.extract("warm effusion")
    assert min(run(text) for _ in range(2)) < 4 * SECONDS * len(text) / MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES)
def test_no_megabyte_takes_longer_than_two_seconds(piece: str) -> None:
    findings.extract("warm effusion")
    text = (piece * (MEGABYTE // len(piece) + 1))[: MEGABYTE - 2000]
    assert min(run(text), run(" " * 1000 + text + "x effusion.")) < SECONDS


@pytest.mark.slow
def test_ten_thousand_random_and_adversarial_texts() -> None:
    rng = random.Random(20240229)
    pieces = [*WORDS, *PIECES, "\x00", "\u2028", "é", "漢", "\ud83e", "ﬁ", "İ", "\r\n"]
    for _ in range(10_000):
        kind = rng.random()
        if kind < 0.4:
            text = " ".join(rng.choices(pieces, k=rng.randrange(80)))
        elif kind < 0.7:
            text = "".join(rng.choices(pieces, k=rng.randrange(80)))
        else:
            text = "".join(
                chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) for _ in range(rng.randrange(300))
            )
        check(text)
        labels = findings.label(text)
        assert set(labels.values()) <= {1, 0, -1, None}
