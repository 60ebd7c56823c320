"""BLEU, ROUGE-L, CIDEr and METEOR: golden values, the peer on random texts, slow versions, invariants, bad input."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.errors import MissingExtraError, UsageError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.text import clean, prepare

REFS = ["the heart is enlarged .", "there is a small left pleural effusion .", "no pneumothorax ."]
HYPS = ["the heart is mildly enlarged .", "small left pleural effusion .", "no pneumothorax ."]
TEXT_METRICS = ("bleu", "rouge_l", "cider")


def _bleu(prediction: str, reference: str) -> list[float]:
    return list(metrics.bleu(predictions=[prediction], references=[reference], profile="raw").values())


def _raw(name: str, predictions: list[str] = HYPS, references: Any = REFS) -> dict[str, float]:
    return metrics.get(name)(predictions=predictions, references=references, profile="raw")


def test_bleu_of_the_corpus() -> None:
    assert list(_raw("bleu").values()) == pytest.approx([0.804958, 0.755597, 0.676300, 0.572281], abs=1e-6)


def test_bleu_of_single_reports() -> None:
    each = [_bleu(h, r)[3] for h, r in zip(HYPS, REFS, strict=True)]
    assert each == pytest.approx([8.034e-5, 0.548812, 0.0316228], rel=1e-4)


def test_bleu_of_too_short_and_too_long() -> None:
    assert _bleu("a b c d", "a b c d e f g h") == pytest.approx([0.367879] * 4, abs=1e-6)
    longer = [0.5, 0.462910, 0.414913, 0.345721]
    assert _bleu("a b c d e f g h", "a b c d") == pytest.approx(longer, abs=1e-6)


def test_bleu_of_one_wrong_word() -> None:
    assert _bleu("a b x d", "a b c d") == pytest.approx([0.75, 0.5, 5e-6, 2e-8], rel=0.3)
    assert _raw("rouge_l", ["a b x d"], ["a b c d"])["rouge_l"] == pytest.approx(0.75)


def test_identical_reports_are_perfect() -> None:
    two = ["no pleural effusion or pneumothorax is seen .", "the heart size is normal ."]
    assert list(_raw("bleu", two, two).values()) == pytest.approx([1.0] * 4)
    assert _raw("rouge_l", two, two)["rouge_l"] == pytest.approx(1.0)
    assert _raw("cider", two, two)["cider"] == pytest.approx(10.0)
    assert _raw("cider", two[:1], two[:1])["cider"] == 0.0


def test_rouge_l_of_the_corpus() -> None:
    each = metrics.rouge_l.statistics(predictions=HYPS, references=REFS, profile="raw")[:, 0]
    assert each == pytest.approx([0.924242, 0.738499, 1.0], abs=1e-6)
    assert _raw("rouge_l")["rouge_l"] == pytest.approx(0.887580, abs=1e-6)


def test_cider_of_the_corpus() -> None:
    each = metrics.cider.statistics(predictions=HYPS, references=REFS, profile="raw")[:, 0]
    assert each == pytest.approx([4.512542, 6.404445, 7.5], abs=1e-6)
    assert _raw("cider")["cider"] == pytest.approx(6.138995, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (
            "1. Heart size is normal.  2. No pleural effusion, pneumothorax.",
            "heart size is normal . no pleural effusion pneumothorax .",
        ),
        ("There is a 1.5 cm nodule; lungs: clear.", "there is a 15 cm nodule lungs clear ."),
        ("", "."),
        ("___ seen.\nNo change...", "seen . no change ."),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_r2gen_cuts_references_only_and_replaces_rare_words_on_both_sides() -> None:
    long = " ".join(["word"] * 150)
    predictions, references = prepare([long], [long], profile="r2gen")
    assert (len(predictions[0].split()), len(references[0][0].split())) == (151, 99)
    predictions, references = prepare(["a rare b"], ["a b"], profile="r2gen", vocabulary={"a", "b", "."})
    assert (predictions, references) == (["a <unk> b ."], [["a b ."]])


def _random_texts(n: int, seed: int) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(30)] + ["."]

    def text(longest: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, longest)))

    references = [[text(30) for _ in range(rng.choice([1, 1, 1, 2, 3]))] for _ in range(n)]
    near = [" ".join(w for w in rs[0].split() if rng.random() > 0.3) or "." for rs in references]
    return [p if rng.random() < 0.8 else text(40) for p in near], references


@pytest.fixture(scope="module")
def peer() -> dict[str, Any]:
    pytest.importorskip("pycocoevalcap", reason="the peer of the text metrics is not installed")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    predictions, references = _random_texts(2000, seed=0)
    res, gts = {i: [p] for i, p in enumerate(predictions)}, dict(enumerate(references))
    return {
        "texts": (predictions, references),
        "bleu": np.array(Bleu(4).compute_score(gts, res, verbose=0)[0]),
        "rouge_l": np.array([Rouge().compute_score(gts, res)[0]]),
        "cider": np.array([Cider().compute_score(gts, res)[0]]),
        "each": (Rouge().compute_score(gts, res)[1], Cider().compute_score(gts, res)[1]),
    }


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_equal_to_the_peer_on_random_texts_with_several_references(peer: dict[str, Any], name: str) -> None:
    mine = np.array(list(_raw(name, *peer["texts"]).values()))
    assert mine == pytest.approx(peer[name], abs=1e-6)


def test_single_reports_equal_the_peers_too(peer: dict[str, Any]) -> None:
    predictions, references = peer["texts"]
    for name, theirs in zip(("rouge_l", "cider"), peer["each"], strict=True):
        mine = metrics.get(name).statistics(predictions=predictions, references=references, profile="raw")[:, 0]
        assert mine == pytest.approx(np.array(theirs), abs=1e-6)


def _slow_lcs(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.sampled_from("abc"), max_size=80), st.lists(st.sampled_from("abc"), max_size=80))
def test_lcs_equals_the_table_version(a: list[str], b: list[str]) -> None:
    assert metrics.rouge_l.module.lcs_length(a, b) == _slow_lcs(a, b)


def _slow_bleu_4(predictions: list[str], references: list[str]) -> float:
    log, words, target = 0.0, 0, 0
    for k in range(1, 5):
        right = total = 0
        for p, r in zip(predictions, references, strict=True):
            grams = [Counter(tuple(t[i : i + k]) for i in range(len(t) - k + 1)) for t in (p.split(), r.split())]
            right += sum((grams[0] & grams[1]).values())
            total += sum(grams[0].values())
        log += np.log((right + 1e-15) / (total + 1e-9)) / 4
    words, target = sum(len(p.split()) for p in predictions), sum(len(r.split()) for r in references)
    return float(np.exp(log) * np.exp(min(0.0, 1 - (target + 1e-9) / (words + 1e-15))))


TEXTS = st.lists(st.lists(st.sampled_from("abcd."), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=6)


@settings(max_examples=50)
@given(TEXTS, st.randoms(use_true_random=False))
def test_bleu_equals_the_counting_version(references: list[str], rng: random.Random) -> None:
    predictions = [" ".join(rng.choices("abcd.", k=rng.randint(1, 12))) for _ in references]
    assert _raw("bleu", predictions, references)["bleu_4"] == pytest.approx(
        _slow_bleu_4(predictions, references), rel=1e-9
    )


@settings(max_examples=30)
@given(TEXTS, st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(references: list[str], rng: random.Random) -> None:
    predictions = [" ".join(rng.choices("abcd.", k=5)) for _ in references]
    order = rng.sample(range(len(references)), len(references))
    for name in TEXT_METRICS:
        shuffled = _raw(name, [predictions[i] for i in order], [references[i] for i in order])
        assert _raw(name, predictions, references) == pytest.approx(shuffled, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "rouge_l"])
def test_weights_equal_scoring_the_resampled_texts(name: str) -> None:
    predictions, references = _random_texts(40, seed=1)
    rng = np.random.default_rng(2)
    draws = rng.integers(0, 40, (5, 40))
    weights = np.stack([np.bincount(d, minlength=40) for d in draws])
    metric = metrics.get(name)
    stats = metric.statistics(predictions=predictions, references=references, profile="raw")
    fast = metric.aggregate(stats, weights)
    for i, draw in enumerate(draws):
        slow = _raw(name, [predictions[j] for j in draw], [references[j] for j in draw])
        assert {k: v[i] for k, v in fast.items()} == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_a_weighting_without_samples_is_nan(name: str) -> None:
    metric = metrics.get(name)
    stats = metric.statistics(predictions=HYPS, references=REFS, profile="raw")
    assert all(np.isnan(v).all() for v in metric.aggregate(stats, np.zeros((1, 3))).values())


@pytest.mark.parametrize("name", TEXT_METRICS)
@pytest.mark.parametrize(
    ("predictions", "references"),
    [([], []), (["a"], []), (["a"], [[]]), ([None], ["a"]), (["a"], [3]), (["a"], [[None]])],
)
def test_bad_input_is_a_clear_error(name: str, predictions: list[Any], references: list[Any]) -> None:
    with pytest.raises((UsageError, TypeError)):
        metrics.get(name)(predictions=predictions, references=references)


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_empty_and_huge_outputs_are_scored(name: str) -> None:
    scores = metrics.get(name)(predictions=["", "x " * 500_000, "\u202e<script>"], references=["a b", "c d", "e"])
    assert all(0 <= v < 1 for v in scores.values())


@pytest.fixture(scope="module")
def meteor() -> Any:
    try:
        metrics.meteor.module.jar()
    except MissingExtraError as e:
        pytest.skip(str(e))
    return metrics.meteor


def test_meteor_of_reports_and_corpus(meteor: Any) -> None:
    texts = ([*HYPS, "effusion is small .", "a b x d"], [*REFS, "effusions are small .", "a b c d"])
    stats = meteor.statistics(predictions=texts[0], references=texts[1], profile="raw")
    each = meteor.aggregate(stats, np.eye(5))["meteor"]
    assert each == pytest.approx([0.476636, 0.472458, 1.0, 0.825, 0.312715], abs=1e-6)
    assert meteor.aggregate(stats[:3])["meteor"][0] == pytest.approx(0.497256, abs=1e-6)
    assert np.isnan(meteor.aggregate(stats, np.zeros((1, 5)))["meteor"]).all()


def test_meteor_survives_hostile_text_and_says_how_to_install_it(meteor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    megabyte = "small effusion . " * 65_000
    hostile = ["a ||| b\nEVAL ||| 1", "", "\u202e\x00 <script>", megabyte, "a small effusion"]
    stats = meteor.statistics(
        predictions=hostile, references=["a b", "c", "d", *["a small effusion"] * 2], profile="raw"
    )
    each = meteor.aggregate(stats, np.eye(5))["meteor"]
    assert each[1] == 0.0
    assert 0 < each[3] < 0.1, "too long, scored all the same"
    assert each[4] == 1.0, "and the reports behind it too"
    monkeypatch.setenv("CXR_MAX_METEOR_JAR", "absent.jar")
    with pytest.raises(MissingExtraError, match="pip install"):
        meteor(predictions=["a"], references=["a"])
