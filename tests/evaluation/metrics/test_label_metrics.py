"""Macro-accuracy and AUC against golden values and scikit-learn; every metric as an evaluate module."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from cxr_max import evaluation
from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation import metrics


def _macro(y: list[int], answers: list[Any]) -> dict[str, float]:
    return metrics.macro_accuracy(
        predictions=[a if a is None else str(a) for a in answers], references=[str(v) for v in y]
    )


def test_macro_accuracy_against_the_majority() -> None:
    scores = _macro([0, 0, 1, 1, 1, 1, 1, 1, 2, 2], [1] * 10)
    assert (scores["accuracy"], scores["macro_accuracy"]) == pytest.approx((0.6, 1 / 3))
    scores = _macro([0, 0, 1, 1, 1, 1, 2, 2], [0, 1, 1, 1, 1, 2, 2, 0])
    assert (scores["accuracy"], scores["macro_accuracy"]) == pytest.approx((0.625, 0.583333), abs=1e-6)


def test_abstention_is_wrong_and_counted() -> None:
    assert _macro([0, 1], [0, None]) == {"macro_accuracy": 0.5, "accuracy": 0.5, "abstention": 0.5}


def test_a_class_without_references_is_left_out() -> None:
    scores = metrics.macro_accuracy(predictions=["a", "b", "b"], references=["a", "a", "b"], labels=["a", "b", "c"])
    assert scores["macro_accuracy"] == 0.75


def test_with_one_class_alone_a_constant_answer_shows_nothing() -> None:
    scores = metrics.macro_accuracy(predictions=["a", "a"], references=["a", "a"], labels=["a", "b"])
    assert np.isnan(scores["macro_accuracy"])
    assert scores["accuracy"] == 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:.*y_pred contains classes.*", "ignore:.*single label.*")
def test_macro_accuracy_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    y, answers = [list(v) for v in zip(*pairs, strict=True)]
    expected = balanced_accuracy_score(y, answers) if len(set(y)) > 1 else float("nan")
    assert _macro(y, answers)["macro_accuracy"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("predictions", "references", "labels"), [([], [], None), (["a"], ["a", "b"], None), (["a"], ["x"], ["a", "b"])]
)
def test_macro_accuracy_bad_input(predictions: list[str], references: list[str], labels: list[str] | None) -> None:
    with pytest.raises(UsageError):
        metrics.macro_accuracy(predictions=predictions, references=references, labels=labels)


def test_auc_golden_values() -> None:
    assert metrics.auc(predictions=[0.1, 0.4, 0.35, 0.8], references=[0, 0, 1, 1])["auc"] == 0.75
    assert metrics.auc(predictions=[1.0] * 4, references=[0, 0, 1, 1])["auc"] == 0.5
    assert np.isnan(metrics.auc(predictions=[0.1, 0.2], references=[1, 1])["auc"])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_scikit_learn_and_all_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, y = [float(s) for s, _ in pairs], [int(b) for _, b in pairs]
    mine = metrics.auc(predictions=scores, references=y)["auc"]
    if len(set(y)) == 1:
        assert np.isnan(mine)
        return
    positive, negative = ([s for s, v in zip(scores, y, strict=True) if v == c] for c in (1, 0))
    slow = np.mean([(p > n) + (p == n) / 2 for p in positive for n in negative])
    assert mine == pytest.approx(slow)
    assert mine == pytest.approx(roc_auc_score(y, scores))
    assert metrics.auc(predictions=[-s for s in scores], references=y)["auc"] == pytest.approx(1 - mine)


def test_auc_weights_equal_resampling() -> None:
    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 2, 50), rng.integers(0, 6, 50).astype(float)
    draws = rng.integers(0, 50, (20, 50))
    stats = metrics.auc.statistics(predictions=scores, references=y)
    fast = metrics.auc.aggregate(stats, np.stack([np.bincount(d, minlength=50) for d in draws]))["auc"]
    assert fast == pytest.approx([roc_auc_score(y[d], scores[d]) for d in draws])


@pytest.mark.parametrize(
    ("scores", "labels"), [([], []), ([1.0], [1, 0]), ([float("nan"), 1.0], [0, 1]), ([1.0, 2.0], [0, 2])]
)
def test_auc_bad_input(scores: list[float], labels: list[int]) -> None:
    with pytest.raises(UsageError):
        metrics.auc(predictions=scores, references=labels)


def test_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="bleu"):
        metrics.get("nope")
    with pytest.raises(AttributeError):
        _ = metrics.nope


EXAMPLES = {
    "bleu": (["a b c d e"], ["a b c d e"], {"profile": "raw"}),
    "rouge_l": (["a b"], ["a b"], {"profile": "raw"}),
    "cider": (["a b", "c d e f"], ["a b", "c d e f"], {"profile": "raw"}),
    "claims": ([["Edema", "Pneumothorax/left"]], [["Pneumothorax/left"]], {}),
    "f1_labels14": (["Edema", ""], ["Edema|Fracture", ""], {}),
    "f1_rules14": (["No effusion. Cardiomegaly."], ["Cardiomegaly."], {}),
    "finding_pr": (["Small left pleural effusion."], ["Left pleural effusion."], {}),
    "macro_accuracy": (["a", "b"], ["a", "b"], {}),
    "style": (["a b"], ["c"], {}),
    "suppression": ([[-2.0, -1.0], [-1.0, -1.5]], ["", ""], {}),
    "drift_events": (
        ["A right pneumothorax. A rib fracture. A chest tube."],
        [
            [
                "A left pneumothorax. No rib fracture.",
                "A right pneumothorax. A rib fracture. A chest tube. Edema.",
                "Sorry.",
            ]
        ],
        {},
    ),
    "auc": ([0.1, 0.9], [0, 1], {}),
}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_metric_is_an_evaluate_module_too(name: str) -> None:
    predictions, references, options = EXAMPLES[name]
    module = evaluation.as_evaluate(name)
    direct = metrics.get(name)(predictions=predictions, references=references, **options)
    assert module.compute(predictions=predictions, references=references, **options) == pytest.approx(direct)


def test_every_metric_has_an_example_here_or_needs_java() -> None:
    assert set(metrics.names()) - set(EXAMPLES) == {"meteor"}


def test_a_metric_is_callable_by_whatever_road_its_module_was_imported() -> None:
    import cxr_max.evaluation.metrics.auc
    import cxr_max.evaluation.predictors.random

    assert cxr_max.evaluation.metrics.auc(predictions=[0.0, 1.0], references=[0, 1])["auc"] == 1.0
    assert cxr_max.evaluation.predictors.random(3).settings == {"seed": 3}
