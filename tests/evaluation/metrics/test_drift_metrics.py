"""Drift events and suppression: worked numbers, equality with the drift report's counts, odd input."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_max import data, drift, findings, mimic, synth
from cxr_max.drift import flips, per_teacher
from cxr_max.errors import UsageError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.metrics.drift_events import EVENTS, Reference, counts

REPORT = "There is a small left pleural effusion. No pneumothorax. The heart is enlarged."
WRONG = (
    "There is a right pleural effusion. A pneumothorax is present. An endotracheal tube is seen. "
    "There is a rib fracture."
)


def events(text: str, report: str = REPORT) -> dict[str, tuple[int, int]]:
    found = counts(findings.extract(text), findings.extract(report, role="reference"))
    return dict(zip(EVENTS, found, strict=True))


def test_worked_counts() -> None:
    assert events(WRONG) == {
        "refusal": (0, 1),
        "contradiction": (2, 4),
        "negation_flip": (1, 4),
        "laterality_flip": (1, 4),
        "invented_finding": (1, 3),
        "invented_device": (1, 1),
        "omission": (1, 2),
    }
    right = events(REPORT)
    assert {e: n for e, (n, _) in right.items()} == dict.fromkeys(EVENTS, 0)
    declined = events("I cannot interpret this image.")
    assert declined["refusal"] == (1, 1)
    assert declined["omission"] == (2, 2)
    assert declined["contradiction"] == (0, 0)


def test_worked_scores() -> None:
    """The student drifts as its second teacher does; the first is right."""
    scores = metrics.drift_events(predictions=[WRONG], references=[Reference(REPORT, (REPORT, WRONG))])
    # Two contradictions of four concepts; the mixture: one of (3 + 4) / 2.
    assert scores["contradiction"] == pytest.approx(0.5)
    assert scores["contradiction_mixture"] == pytest.approx(1 / 3.5)
    assert scores["contradiction_inherited"] == pytest.approx(0.5 - 1 / 3.5)
    assert scores["contradiction_ratio"] == pytest.approx(0.5 * 3.5)
    assert scores["invented_device_mixture"] == pytest.approx(1.0)
    assert scores["refusal"] == scores["refusal_mixture"] == 0
    assert np.isnan(scores["refusal_ratio"])
    good = metrics.drift_events(predictions=[REPORT], references=[Reference(REPORT, (WRONG,))])
    assert good["contradiction_inherited"] == pytest.approx(-0.5)
    assert np.isnan(good["invented_device"])


def test_a_student_that_draws_from_its_teachers_inherits_all_and_nothing_more() -> None:
    references = [Reference(REPORT, (REPORT, WRONG))] * 2
    scores = metrics.drift_events(predictions=[REPORT, WRONG], references=references)
    for event in EVENTS:
        if not np.isnan(scores[f"{event}_inherited"]):
            assert scores[f"{event}_inherited"] == pytest.approx(0)


def test_the_counts_are_those_of_the_drift_report(tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(instances=30, seed=8, images=False), tmp_path / "w")
    release = data.build([tmp_path / "w" / "raw"], tmp_path / "r", "1.0.0").release
    joined = mimic.join(release, mimic.open_root(tmp_path / "w" / "mimic"))
    encoded = drift.encode(joined, drift.Config())
    whole = flips.compute(encoded, per_teacher.reference_of(encoded, "both"), "pos")
    rows = release.scan("trajectories").select("instance_id", "teacher", "trajectory").collect()
    texts = {(i, t): x for i, t, x in rows.iter_rows()}
    told = joined.scan("references").select("instance_id", "findings", "impression").collect()
    reports = {i: "\n\n".join(s for s in sections if s) for i, *sections in told.iter_rows()}
    checked = 0
    for t, (i, u) in enumerate(zip(encoded.instance_T, encoded.teacher_T, strict=True)):
        name = encoded.instance_id[i]
        if not encoded.has_reference_I[i]:
            continue
        mine = events(texts[name, encoded.vocabulary.teachers[u]], reports[name])
        assert mine["negation_flip"] == (whole.negation[t], whole.asserted[t])
        assert mine["laterality_flip"] == (whole.laterality[t], whole.asserted[t])
        assert mine["contradiction"] == (whole.contradicted[t], whole.asserted[t])
        assert mine["invented_finding"] == (whole.invented[t], whole.affirmed[t])
        assert mine["invented_device"] == (whole.invented_devices[t], whole.devices[t])
        assert mine["refusal"][0] == encoded.refusal_T[t]
        checked += 1
    assert checked > 150
    assert whole.contradicted.sum() > 20
    assert pl.Series(whole.invented_devices).sum() > 0


def test_suppression() -> None:
    scores = metrics.suppression(predictions=[(-2.0, -1.0), (-1.0, -1.5), None], references=[0, 0, 0])
    assert scores == {"log_ratio": pytest.approx(-0.25), "prefers_twin": pytest.approx(0.5)}
    nothing = metrics.suppression(predictions=[None], references=[0])
    assert np.isnan(nothing["log_ratio"])
    assert np.isnan(nothing["prefers_twin"])


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="at least one"):
        metrics.drift_events(predictions=[], references=[])
    with pytest.raises(UsageError, match="no teacher"):
        metrics.drift_events(predictions=["x"], references=[Reference("x", ())])
    with pytest.raises(UsageError, match="2 predictions"):
        metrics.suppression(predictions=[None, None], references=[0])
