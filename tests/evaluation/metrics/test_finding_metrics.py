"""Label F1, finding precision and recall, style: worked numbers, weights against re-scoring, empty answers."""

import numpy as np
import pytest

from cxr_max.errors import UsageError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.metrics.f1_rules14 import averages
from cxr_max.evaluation.metrics.style import without_markdown
from cxr_max.schema import FINDINGS

REFERENCES = ["Left pleural effusion. Cardiomegaly.", "No pneumothorax.", "Right pneumothorax."]
ANSWERS = ["Pleural effusion on the left. No cardiomegaly.", "", "Left pneumothorax. Edema."]


def test_f1_of_labels_by_hand() -> None:
    # Effusion right; cardiomegaly missed; No Finding of the second report missed by an empty answer; pneumothorax right
    # (its side does not matter here); edema invented.
    scores = metrics.f1_rules14(predictions=ANSWERS, references=REFERENCES)
    assert scores["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert scores["f1_macro"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert scores["labels"] == 4


def test_finding_precision_and_recall_by_hand() -> None:
    # Report 1: the effusion entails and is entailed, cardiomegaly is missed: P 1, R 1/2. Report 2: nothing is stated
    # and nothing is there to find: undefined. Report 3: wrong side and an invention: P 0 of 2, R 0 of 1.
    scores = metrics.finding_pr(predictions=ANSWERS, references=REFERENCES)
    assert scores["precision"] == pytest.approx(0.5)
    assert scores["recall"] == pytest.approx(0.25)
    assert scores["precision_micro"] == pytest.approx(1 / 3)
    assert scores["recall_micro"] == pytest.approx(1 / 3)
    assert scores["f1"] == pytest.approx(2 * 0.5 * 0.25 / 0.75)


def test_an_empty_answer_has_no_precision_and_recall_zero() -> None:
    scores = metrics.finding_pr(predictions=[""], references=["Edema."])
    assert np.isnan(scores["precision"])
    assert scores["recall"] == 0.0


@pytest.mark.parametrize("name", ["f1_rules14", "finding_pr", "style"])
def test_weights_equal_rescoring(name: str) -> None:
    metric = metrics.get(name)
    stats = metric.statistics(predictions=ANSWERS, references=REFERENCES)
    draws = [[0, 0, 2], [2, 2, 2], [0, 1, 1]]
    fast = metric.aggregate(stats, np.stack([np.bincount(d, minlength=3) for d in draws]))
    for i, draw in enumerate(draws):
        slow = metric(predictions=[ANSWERS[j] for j in draw], references=[REFERENCES[j] for j in draw])
        assert {k: v[i] for k, v in fast.items()} == pytest.approx(slow, nan_ok=True)


@pytest.mark.parametrize("name", ["f1_rules14", "finding_pr"])
@pytest.mark.parametrize(("predictions", "references"), [([], []), (["a"], [])])
def test_bad_input(name: str, predictions: list[str], references: list[str]) -> None:
    with pytest.raises(UsageError):
        metrics.get(name)(predictions=predictions, references=references)


def test_style_counts_words_markdown_and_empty_answers() -> None:
    texts = ["# A heading\n- one", "plain words here", " "]
    scores = metrics.style(predictions=texts, references=texts)
    assert scores == pytest.approx({"words": 8 / 3, "markdown": 1 / 3, "empty": 1 / 3})


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("# Head\n- **bold** item", "Head\nbold item"),
        ("1.5 cm __x__ `y`", "1.5 cm x y"),
        ("", ""),
        ("> quote", "quote"),
    ],
)
def test_markdown_goes_words_stay(text: str, plain: str) -> None:
    assert without_markdown(text) == plain


def test_every_averaging_of_label_scores() -> None:
    truth = [{"No Finding"}, {"Cardiomegaly"}, {"Cardiomegaly"}, {"Consolidation"}, {"Lung Opacity", "Lung Lesion"}]
    said = [{"No Finding"}, {"No Finding"}, {"Edema", "Atelectasis"}, {"Consolidation"}, set()]
    t, p = (np.array([[f in row for f in FINDINGS] for row in rows]) for rows in (truth, said))
    scores = averages(np.concatenate([p & t, p & ~t, ~p & t], axis=1))
    assert scores["micro"] == pytest.approx((0.4, 1 / 3, 0.363636), abs=1e-6)
    assert scores["macro_zero"] == pytest.approx((0.107143, 0.142857, 0.119048), abs=1e-6)
    assert scores["weighted"] == pytest.approx((0.25, 1 / 3, 0.277778), abs=1e-6)
    assert scores["samples_zero"] == pytest.approx((0.4, 0.4, 0.4))
    assert scores["top5_micro"][2] == pytest.approx(1 / 3)
    assert scores["macro"][:2] == pytest.approx((0.375, 0.4))
    assert scores["samples"][:2] == pytest.approx((0.5, 0.4))
