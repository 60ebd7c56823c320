"""Report generation on a small synthetic world: who is asked, what is counted, which measures come out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_max import evaluation
from cxr_max.errors import MissingFileError
from cxr_max.evaluation import ask, predictors, tasks
from cxr_max.evaluation.types import Context, Output
from cxr_max.roots import Root


def _context(world: Path, **more: Any) -> Context:
    return Context((Root("mimic-cxr", world / "mimic", "option"),), **more)


@pytest.mark.parametrize("name", ["report_generation_r2gen", "report_generation_study"])
def test_only_studies_with_findings_are_asked_and_the_others_counted(name: str, world: Path) -> None:
    task = tasks.get(name)
    items = task.load(_context(world))
    asked = [i for i in items if i.asked]
    assert 0 < len(asked) < len(items), "the world has reports without FINDINGS on purpose"
    assert all(i.target.strip() for i in asked)
    assert {m.notes["missing_findings"] for m in task.measures(items, "parse")} == {len(items) - len(asked)}


def test_r2gen_asks_images_and_study_asks_frontal_studies(world: Path) -> None:
    by_image = tasks.get("report_generation_r2gen").load(_context(world))
    by_study = tasks.get("report_generation_study").load(_context(world))
    assert all(len(i.sample.images) <= 1 for i in by_image)
    assert len(by_study) < len(by_image)
    assert {i.sample.patient for i in by_study} <= {i.sample.patient for i in by_image}


def test_the_reference_itself_scores_perfectly(world: Path) -> None:
    task = tasks.get("report_generation_study")
    items = [replace(i, output=Output(str(i.target))) for i in task.load(_context(world))]
    for measure in task.measures(items, ask.how(items)):
        scores = evaluation.metrics.get(measure.metric).aggregate(measure.stats)
        for perfect in ("bleu_4", "rouge_l", "f1_micro", "precision_micro", "recall_micro"):
            if perfect in scores:
                assert scores[perfect][0] == pytest.approx(1.0)


def test_profiles_are_never_averaged_and_have_signatures_of_their_own(world: Path, tmp_path: Path) -> None:
    config = evaluation.EvalConfig(("report_generation_r2gen",), tmp_path / "run", _context(world, limit=10))
    evaluation.run(config, lambda: predictors.make("random", {}))
    rows = evaluation.grade(config.out, draws=10)
    bleu = [r for r in rows if r["score"] == "bleu_4"]
    assert {r["group"] for r in bleu} == {"r2gen", "r2gen, without Markdown", "clean", "clean, without Markdown"}
    assert len({r["signature"] for r in bleu}) == 4


def test_without_reports_the_error_names_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="--mimic-root"):
        tasks.get("report_generation_study").load(Context())
