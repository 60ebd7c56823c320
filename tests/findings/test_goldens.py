"""Worked values of the labeler and of finding precision and recall."""

import math
import textwrap

import pytest

from cxr_max import findings
from cxr_max.findings.chexpert import combine
from cxr_max.findings.model import Finding, Role
from cxr_max.schema import FINDINGS

SAMPLES = {
    "Heart size normal and lungs are clear. No edema or pneumonia. No effusion": {
        "No Finding": 1, "Cardiomegaly": 0, "Edema": 0, "Pneumonia": 0, "Pleural Effusion": 0,
    },
    "1. Left pleural effusion with adjacent atelectasis. Right effusion is also present. "
    "2. Cardiomegaly without overt edema.": {
        "Pleural Effusion": 1, "Atelectasis": 1, "Cardiomegaly": 1, "Edema": 0,
    },
    "Minimal patchy airspace disease within the lingula, may reflect atelectasis or consolidation.": {
        "Lung Opacity": 1, "Atelectasis": -1, "Consolidation": -1,
    },
    "1. Stable mild cardiomegaly. 2. Hyperexpanded but clear lungs.": {"Cardiomegaly": 1},
    "Right PICC line in place.": {"Support Devices": 1, "No Finding": 1},
    "Emphysema.": {},
}  # fmt: skip


@pytest.mark.parametrize("text", SAMPLES)
def test_labels_of_samples(text: str) -> None:
    labels = findings.label(text)
    assert tuple(labels) == FINDINGS
    assert {k: v for k, v in labels.items() if v is not None} == SAMPLES[text]


@pytest.mark.parametrize(
    ("mentions", "value"), [([0, 1], 1), ([0, -1], -1), ([-1, 1], 1), ([0, 0], 0), ([], None), ([0, -1, 1], -1)]
)
def test_aggregation(mentions: list[int], value: int | None) -> None:
    assert combine(mentions) == value


def test_heart_failure_adds_an_uncertain_cardiomegaly() -> None:
    assert findings.label("Congestive heart failure.")["Cardiomegaly"] == -1
    assert findings.label("No heart failure.")["Cardiomegaly"] is None
    assert findings.label("Cardiomegaly. Heart failure.")["Cardiomegaly"] == 1


def test_generic_text_yields_nothing() -> None:
    text = "Atelectasis refers to partial collapse of the lung. Common causes include infection and heart failure."
    extraction = findings.extract(text)
    assert extraction.findings == ()
    assert extraction.refusal
    assert all(step.generic for step in extraction.steps)


def test_a_shift_is_no_enlargement() -> None:
    text = "The mediastinum is shifted to the right. A pacemaker is present; no evidence of lead dislodgement."
    labels = findings.label(text)
    assert labels["Enlarged Cardiomediastinum"] is None
    assert labels["Support Devices"] == 1
    assert not findings.extract(text).refusal


def tuple_of(concept: str, side: str | None, status: str = "present") -> Finding:
    return Finding(concept, None, status, side, None, 0, 1, "test")  # type: ignore[arg-type]


def both(concept: str) -> list[Finding]:
    return [tuple_of(concept, "left"), tuple_of(concept, "right")]


@pytest.mark.parametrize(
    ("candidate", "reference", "level", "precision", "recall", "side_contradictions"),
    [
        ([tuple_of("pleural_effusion", "left")], both("pleural_effusion"), "side", 1, 0.5, 0),
        ([tuple_of("atelectasis", "right")], [tuple_of("atelectasis", "left")], "side", 0, 0, 1),
        ([tuple_of("atelectasis", "right")], [tuple_of("atelectasis", "left")], "concept", 1, 1, 1),
        ([tuple_of("pleural_effusion", None)], [tuple_of("pleural_effusion", "left")], "side", 1, 0, 0),
        ([tuple_of("pleural_effusion", "left")], [tuple_of("pleural_effusion", None)], "side", 0, 1, 0),
    ],
)
def test_entailment_with_sides(
    candidate: list[Finding], reference: list[Finding], level: str, precision: float, recall: float,
    side_contradictions: int,
) -> None:  # fmt: skip
    result = findings.alignment(candidate, reference, level=level)  # type: ignore[arg-type]
    assert (result.precision, result.recall) == (precision, recall)
    assert result.side_contradictions == side_contradictions


def test_undefined_is_nan_with_counts() -> None:
    nothing = findings.alignment([], [])
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)
    refused = findings.alignment([], [tuple_of("edema", None)])
    assert math.isnan(refused.precision)
    assert (refused.recall, refused.n_r, refused.n_c) == (0.0, 1, 0)
    unfounded = findings.alignment([tuple_of("edema", None)], [])
    assert unfounded.precision == 0.0
    assert math.isnan(unfounded.recall)


REPORT = (
    "As compared to the previous radiograph there is no change. There is no evidence of pneumothorax, of pleural "
    "effusion, or of focal consolidation. The heart is mildly enlarged, as before. No Swan-Ganz catheter is seen. Left "
    "lower lobe atelectasis of 3 cm (new) cannot be excluded. The lungs are free of pneumonia and of pulmonary edema. "
    "PICC line in place; its tip lies in the superior vena cava. ___ rib fractures on the right are healing."
)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("role", ["candidate", "reference"])
@pytest.mark.parametrize("width", [66, 72, 79, 80, 96])
def test_hard_wrapping_changes_nothing(width: int, role: Role, newline: str) -> None:
    text = textwrap.fill(REPORT, width, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False)
    text = text.replace("\n", newline)
    made, want = (findings.extract(t, role=role) for t in (text, REPORT))
    assert len(want.findings) >= 9
    assert [(f.concept, f.status, f.side, f.zone) for f in made.findings] == [
        (f.concept, f.status, f.side, f.zone) for f in want.findings
    ]
    assert [" ".join(s.text.split()) for s in made.steps] == [s.text for s in want.steps]
    assert all(text[s.start : s.end] == s.text for s in made.steps)


@pytest.mark.parametrize(
    "text",
    [
        "There is no pneumothorax in this image of the chest\n\ncardiomegaly",
        "- There is no pneumothorax in this image of the chest\n- cardiomegaly",
        "1. There is no pneumothorax in this image of the chest\n2. cardiomegaly",
        "There is no pneumothorax in this image of the chest.\ncardiomegaly is seen",
        "No pneumothorax\nCardiomegaly",
        "# No pneumothorax in this image of the chest, as it is seen here\ncardiomegaly is seen",
        "There is no pneumothorax in this image of the chest\nHeart: cardiomegaly",
        "There is no pneumothorax in this image\n  \ncardiomegaly",
    ],
)
def test_lines_that_begin_something_stay_apart(text: str) -> None:
    assert ("cardiomegaly", "present") in {(f.concept, f.status) for f in findings.extract(text).findings}
