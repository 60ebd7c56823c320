"""A stage from its configuration to a folder that loads again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_max import align
from cxr_max.align import checkpoints, students, watch
from cxr_max.align.gather import gather
from cxr_max.errors import UsageError
from tests import tiny_world
from tests.tiny_world import Tiny


def test_a_stage_leaves_a_folder_that_loads_and_says_what_it_is(stages: tuple[Any, Any], tiny: Tiny) -> None:
    sft, apo = stages
    for result, method in ((sft, "sft"), (apo, "apo")):
        assert result.steps == 4
        assert result.resumed_from is None
        assert result.folder.name == "final"
        assert result.cost.trunk_tokens > 0
        assert result.cost.flop > 0
        assert checkpoints.is_whole(result.folder)
        training = json.loads((result.folder / "training.json").read_text())
        assert training["method"] == method
        assert training["training_ids"] == list(result.training_ids)
        assert len(result.training_ids) == 8
        assert training["release"]["version"].startswith("0.0.0+synthetic")
        assert not training["contaminated"]
        assert (result.folder / ".gitignore").read_text() == "*\n"
        card = (result.folder / "README.md").read_text()
        assert training["release"]["hash"] in card
        assert "synthetic" in card
    student = align.load_student(apo.folder)
    assert student.renderer.template == "diagnose"
    assert not student.model.training


def test_the_seven_names_of_the_log_are_those_people_know(stages: tuple[Any, Any]) -> None:
    rows = watch.read_log(stages[1].folder.parent / "log.jsonl")
    assert [r["step"] for r in rows] == [1, 2, 3, 4]
    known = {
        "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
        "logps/rejected", "logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens",
        "rewards/accuracies_all", "q/moonshot", "q/glm-4.5v", "logps/rejected/moonshot", "length/rejected/moonshot",
        "grad_norm", "learning_rate",
    }  # fmt: skip
    assert known <= rows[0].keys()
    assert rows[0]["rewards/chosen"] == pytest.approx(0, abs=0.05)  # the policy starts as its reference


def test_loading_gives_the_weights_that_were_trained(stages: tuple[Any, Any]) -> None:
    apo = stages[1]
    last = checkpoints.whole(apo.folder.parent)[-1]
    kept, final = align.load_student(last).model.state_dict(), align.load_student(apo.folder).model.state_dict()
    start = align.load_student(stages[0].folder).model.state_dict()
    assert all(torch.equal(kept[k], final[k]) for k in final)
    assert any(not torch.equal(start[k], final[k]) for k in final)


def test_a_finished_stage_is_not_trained_again(stages: tuple[Any, Any], tiny: Tiny) -> None:
    before = (stages[0].folder / "model.safetensors").stat().st_mtime_ns
    again = align.train(tiny_world.stage(tiny, stages[0].folder.parent))
    assert again.steps == 4
    assert again.training_ids == stages[0].training_ids
    assert again.metrics["loss"] == stages[0].metrics["loss"]
    assert (again.folder / "model.safetensors").stat().st_mtime_ns == before


def test_other_settings_do_not_continue_a_stage(stages: tuple[Any, Any], tiny: Tiny) -> None:
    with pytest.raises(UsageError, match="seed differ"):
        align.train(tiny_world.stage(tiny, stages[0].folder.parent, seed=1))


def test_fractions_are_nested_and_keep_patients_whole(tiny: Tiny, tmp_path: Path) -> None:
    def ids(**changes: Any) -> set[str]:
        config = tiny_world.stage(tiny, tmp_path, limit=None, **changes)
        return set(gather(config, align.methods.get("sft").Hyper()).selection.instance_ids)

    half, most, everything = ids(fraction=0.5), ids(fraction=0.8), ids()
    assert half < most < everything
    instances = align.training.open_release(tiny.release).scan("instances").collect()
    subject = dict(instances.select("instance_id", "subject_id").iter_rows())
    assert not {subject[i] for i in half} & {subject[i] for i in everything - half}


def test_an_adapter_stands_on_the_merged_stage_before_it(tiny: Tiny, tmp_path: Path) -> None:
    lora = align.Lora(rank=2, dropout=0.1)
    spec = tiny_world.stage(tiny, tmp_path).model
    first = align.train(
        tiny_world.stage(tiny, tmp_path / "sft", model=align.ModelSpec(**(vars(spec) | {"lora": lora})), max_steps=2)
    )
    assert not (first.folder / "model.safetensors").exists()
    second = align.train(
        tiny_world.preferences(tiny, tmp_path / "apo", first.folder, model=align.ModelSpec(lora=lora), max_steps=2)
    )
    rows = watch.read_log(tmp_path / "apo" / "log.jsonl")
    assert abs(rows[0]["rewards/margins"]) < 1e-2  # with the adapter off the model is the merged first stage
    student = align.load_student(second.folder)
    with student.model.disable_adapter():
        base = student.model.get_base_model().state_dict()
    merged = students.load_model(first.folder, dtype=torch.float32, merge=True).state_dict()
    plain = {k.replace(".base_layer", ""): v for k, v in base.items() if "lora_" not in k}
    assert plain.keys() == merged.keys()
    assert all(torch.equal(plain[k], v) for k, v in merged.items())
    # Another base under the adapter is noticed.
    other = tmp_path / "sft" / "base" / "model.safetensors"
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(align.students.DataError, match="was changed after"):
        align.load_student(first.folder)
