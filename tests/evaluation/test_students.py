"""A student that our own training wrote, asked by its folder: it answers, and its training patients are known."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxr_max import align, evaluation
from cxr_max.errors import UsageError
from cxr_max.evaluation import models, predictors
from cxr_max.evaluation.types import Context
from cxr_max.roots import Root
from tests import tiny_world


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """A small release, supervised training on eight instances of it, and a preference stage behind that."""
    out = tmp_path_factory.mktemp("trained")
    tiny = tiny_world.make(out / "tiny")
    first = align.train(tiny_world.stage(tiny, out / "sft"))
    return tiny, first, align.train(tiny_world.preferences(tiny, out / "apo", first.folder))


def test_a_trained_folder_answers_and_names_its_patients(trained: tuple[Any, Any, Any], tmp_path: Path) -> None:
    tiny, first, second = trained
    context = Context((Root("mimic-cxr", tiny.root, "option"),), limit=4, release=tiny.release)
    config = evaluation.EvalConfig(("report_generation_study",), tmp_path / "run", context)
    options = {"model": str(second.folder), "max_tokens": "6"}
    evaluation.run(config, lambda: predictors.make("hf", options))
    run_ = json.loads((config.out / "restricted" / "run.json").read_text())
    assert run_["synthetic"]
    assert run_["training_patients"], "instances of both stages have patients in the release"
    assert models.load(str(second.folder)).training_ids == tuple(sorted({*first.training_ids, *second.training_ids}))
    with pytest.raises(UsageError, match="those of its training"):
        predictors.make("hf", {**options, "max_pixels": "4000"})


def test_an_earlier_stage_that_does_not_say_makes_the_overlap_unknown(
    trained: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    training = json.loads((trained[2].folder / "training.json").read_text())
    training["base"] = {"local": True, "path": "gone"}
    (folder / "training.json").write_text(json.dumps(training))
    assert models._ids(folder) is None
    del training["training_ids"]
    (folder / "training.json").write_text(json.dumps(training))
    assert models._ids(folder) is None
    training |= {"training_ids": ["a"], "base": {"local": True, "path": "."}}
    (folder / "training.json").write_text(json.dumps(training))
    assert models._ids(folder) is None, "a stage on top of itself"
