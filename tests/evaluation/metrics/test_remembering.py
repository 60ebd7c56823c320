"""Rows of samples are computed once while grading lasts, and are those a part of the samples would give by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_max import evaluation
from cxr_max.evaluation import metrics
from cxr_max.evaluation.types import Context
from cxr_max.roots import Root
from tests.evaluation.test_vocabulary import Copies

TEXTS = ["Heart normal. Lungs clear.", "Small left effusion.", "No edema.", "", "Small left effusion."]
TRUTHS = ["Lungs clear.", "Small right effusion.", "No edema.", "Edema.", "Left effusion."]
ALONE = tuple(n for n in metrics.REGISTRY.own() if getattr(metrics.get(n).module, "ALONE", False))


def arguments(name: str) -> tuple[list[Any], list[Any], dict[str, Any]]:
    if name == "f1_labels14":
        return ["Edema", "", "Edema|Fracture", "", "Edema"], ["Edema", "Fracture", "", "", "Edema"], {}
    if name == "drift_events":
        from cxr_max.evaluation.metrics.drift_events import Reference

        return TEXTS, [Reference(r, (r, TEXTS[0])) for r in TRUTHS], {}
    return TEXTS, TRUTHS, {"profile": "clean"} if name in ("bleu", "rouge_l", "meteor") else {}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "meteor" else n for n in ALONE])
def test_a_part_of_the_samples_gets_the_rows_it_would_get_by_itself(name: str, monkeypatch: Any) -> None:
    metric = metrics.get(name)
    said, true, options = arguments(name)
    if name == "meteor":
        pytest.importorskip("pycocoevalcap")
    part = [1, 2, 4]
    whole = metric.statistics(predictions=said, references=true, **options)
    alone = metric.statistics(predictions=[said[i] for i in part], references=[true[i] for i in part], **options)
    asked: list[int] = []
    own = metric.module.statistics
    monkeypatch.setattr(
        metric.module, "statistics", lambda **more: (asked.append(len(more["predictions"])), own(**more))[1]
    )
    with metrics.remembering():
        first = metric.statistics(predictions=said, references=true, **options)
        second = metric.statistics(predictions=[said[i] for i in part], references=[true[i] for i in part], **options)
        metric.statistics(predictions=[said[0], "new"][: 1 + (name != "f1_labels14")],
                          references=true[: 1 + (name != "f1_labels14")], **options)  # fmt: skip
    assert np.array_equal(first, whole)
    assert np.array_equal(second, alone)
    assert asked == [len(set(zip(said, map(repr, true), strict=True))), *([1] if name != "f1_labels14" else [])]
    metric.statistics(predictions=said, references=true, **options)
    assert asked[-1] == len(said), "nothing is remembered afterwards"


def test_options_are_part_of_what_is_remembered() -> None:
    with metrics.remembering():
        raw, cleaned = (
            metrics.get("bleu").statistics(predictions=["A b."], references=["a b"], profile=p)
            for p in ("raw", "clean")
        )
    assert not np.array_equal(raw, cleaned)


def test_document_frequencies_are_of_the_samples_scored() -> None:
    """CIDEr of a part is not a part of CIDEr, so it is computed anew."""
    cider = metrics.get("cider")
    with metrics.remembering():
        whole = cider.statistics(predictions=TEXTS, references=TRUTHS, profile="clean")
        part = cider.statistics(predictions=TEXTS[:3], references=TRUTHS[:3], profile="clean")
    assert not np.allclose(whole[:3], part)
    assert np.array_equal(part, cider.statistics(predictions=TEXTS[:3], references=TRUTHS[:3], profile="clean"))


@pytest.mark.parametrize("bad", [[], ["a", "b"]])
def test_bad_input_is_an_error_here_too(bad: list[str]) -> None:
    from cxr_max.errors import UsageError

    with metrics.remembering(), pytest.raises(UsageError):
        metrics.get("bleu").statistics(predictions=bad, references=["a"] * (len(bad) and 1))


def test_grading_scores_each_text_once_for_all_samples_and_unseen_patients(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of both blocks equal those of runs that were graded without memory, and a text is scored once."""
    monkeypatch.setenv("CXR_MAX_METEOR_JAR", str(tmp_path / "absent.jar"))
    context = Context((Root("mimic-cxr", world / "mimic", "option"),), 12)
    config = evaluation.EvalConfig(("report_generation_r2gen",), tmp_path / "run", context)
    evaluation.run(config, lambda: Copies(world))
    items = [i for i in evaluation.tasks.get("report_generation_r2gen").load(context) if i.asked]
    seen = {str(items[0].sample.patient)}
    scored: list[int] = []
    module = metrics.get("rouge_l").module
    own = module.statistics
    monkeypatch.setattr(module, "statistics", lambda **more: (scored.append(len(more["predictions"])), own(**more))[1])
    fast = evaluation.grade(config.out, draws=20, training_patients=seen)
    pairs = len({i.target for i in items})
    assert len(scored) == 2, "once a profile"
    assert max(scored) <= len(items)
    assert pairs <= max(scored)
    monkeypatch.setattr(module, "ALONE", False)
    for name in ("bleu", "f1_rules14", "finding_pr"):
        monkeypatch.setattr(metrics.get(name).module, "ALONE", False)
    slow = evaluation.grade(config.out, draws=20, training_patients=seen)
    assert evaluation.grading.finite(fast) == evaluation.grading.finite(slow)
    assert {r["subset"] for r in fast} == {"all", "unseen patients"}


def test_with_nobody_left_out_the_second_block_is_the_first(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_MAX_METEOR_JAR", str(tmp_path / "absent.jar"))
    context = Context((Root("mimic-cxr", world / "mimic", "option"),), 6)
    config = evaluation.EvalConfig(("report_generation_study",), tmp_path / "run", context)
    evaluation.run(config, lambda: evaluation.predictors.make("random", {}))
    rows = evaluation.grading.finite(evaluation.grade(config.out, draws=20))
    blocks = [[{**r, "subset": ""} for r in rows if r["subset"] == s] for s in ("all", "unseen patients")]
    assert blocks[0] == blocks[1]
    assert blocks[0]
