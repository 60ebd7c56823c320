"""Every recipe, shrunk: all its stages for two steps, by the command's own way."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_max import align, recipes
from cxr_max.align import scratch
from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.recipes import _parts, apo_loop, paper_qwen2_5_vl_7b, released_script, tiny_cpu
from tests import tiny_world
from tests.align import tokenizers_for_tests
from tests.tiny_world import Tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_world.make(tmp_path_factory.mktemp("tiny"))


def _order(recipe: str, tiny: Tiny, out: Path, **options: Any) -> Any:
    return recipes.Order(recipe, tiny.release, out, mimic_root=(tiny.root,), options={"shrink": "true"} | options)


def _check(results: list[Any], strategy: str) -> tuple[Any, Any]:
    first, middle, second = results[-3:]
    assert (first.steps, second.steps) == (2, 2)
    assert middle.preferences > 0
    for result in (first, second):
        student = align.load_student(result.folder)
        assert type(align.logprobs.unwrap(student.model)).__name__ == "Qwen2_5_VLForConditionalGeneration"
        assert student.training["train_on"] == "clean"
    assert json.loads((second.folder / "training.json").read_text())["positives"] == strategy
    return first, second


def test_tiny_cpu(tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []
    results = recipes.run(_order("tiny_cpu", tiny, tmp_path / "run"), tell=said.append)
    _check(results, "vote")
    assert sum("projected time" in line for line in said) == 3
    # The same call finds all of it done.
    again = recipes.run(_order("tiny_cpu", tiny, tmp_path / "run"))
    assert [r.steps for r in (again[0], again[1], again[3])] == [2, 2, 2]
    assert again[0].metrics == results[0].metrics


def test_paper_qwen2_5_vl_7b(tiny: Tiny, tmp_path: Path) -> None:
    """With the real tokenizer, the paper's template, consensus by the student in context."""
    tokenizers_for_tests.real(tmp_path / "tokenizer")
    options = {"tokenizer": str(tmp_path / "tokenizer"), "teachers": "gpt-5,moonshot,grok-4"}
    results = recipes.run(_order("paper_qwen2_5_vl_7b", tiny, tmp_path / "run", **options))
    first, _ = _check(results, "in_context")
    student = align.load_student(first.folder)
    assert len(student.renderer.tokenizer) > 151_000
    assert student.renderer.image_processor.size["longest_edge"] == 1280 * 28 * 28
    assert student.renderer.template == "rationale"


def test_released_script(tiny: Tiny, tmp_path: Path) -> None:
    results = recipes.run(_order("released_script", tiny, tmp_path / "run"))
    _, second = _check(results, "vote")
    assert align.students.read_training(second.folder)["method"] == "dpo_pairs"


def test_the_papers_settings_are_those_of_the_paper(tiny: Tiny, tmp_path: Path) -> None:
    build = paper_qwen2_5_vl_7b.build
    sft, consensus, apo = build(release=tiny.release, out=tmp_path, mimic_root=tiny.root)
    assert sft.model.pretrained == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (sft.optimizer.learning_rate, apo.optimizer.learning_rate) == (1e-4, 2e-5)
    assert (sft.optimizer.warmup_steps, apo.optimizer.warmup_steps, apo.optimizer.warmup_ratio) == (20, 0, 0.0)
    for stage in (sft, apo):
        o = stage.optimizer
        assert (o.betas, o.weight_decay, o.schedule) == ((0.9, 0.98), 0.05, "cosine_with_min_lr")
        assert o.min_learning_rate == 1e-7
        assert stage.epochs == 1
        assert (stage.model.lora.rank, stage.model.lora.alpha, stage.model.lora.dropout) == (8, 32, 0.1)
        assert stage.model.freeze_vision
        assert stage.negatives.weights == "none"
        assert stage.train_on == "clean"
    assert consensus.strategy == "in_context"
    assert consensus.model == str(tmp_path / "sft" / "final")
    assert apo.release == consensus.out
    assert (apo.method, apo.positives, dict(apo.hyper)) == ("apo", "in_context", {"beta": 0.1})
    four = build(release=tiny.release, out=tmp_path, mimic_root=tiny.root, hardware="four_gpus")
    assert four[0].optimizer.groups == 4
    with pytest.raises(UnknownNameError, match="eight"):
        build(release=tiny.release, out=tmp_path, hardware="eight")


def test_the_scripts_settings_are_those_of_the_scripts(tiny: Tiny, tmp_path: Path) -> None:
    sft, _, second = released_script.build(release=tiny.release, out=tmp_path, mimic_root=tiny.root)
    assert (sft.max_length, second.max_length) == (2304, 4096)
    assert (sft.optimizer.learning_rate, second.optimizer.learning_rate) == (1e-4, 5e-7)
    assert (sft.optimizer.warmup_ratio, second.optimizer.warmup_ratio) == (0.05, 0.05)
    assert second.method == "dpo_pairs"


def test_what_tiny_cpu_does_otherwise_than_the_paper(tiny: Tiny, tmp_path: Path) -> None:
    where = {"release": tiny.release, "out": tmp_path, "mimic_root": tiny.root}
    sight, sft, _, apo = tiny_cpu.build(**where)
    assert (sight.model.freeze_vision, sft.model.freeze_vision, apo.model.freeze_vision) == (False, True, True)
    assert sft.optimizer.groups == 1
    assert (apo.optimizer.learning_rate, apo.hyper) == (1e-5, {"beta": 0.1, "nll_weight": 1.0})
    assert "apo_learning_rate=1e-4 nll_weight=0" in (tiny_cpu.__doc__ or "")
    # Weights at random have yet to learn to see; other methods have no anchor.
    blind, _, plain = tiny_cpu.build(**where, sight_epochs=0, method="ipo")
    assert not blind.model.freeze_vision
    assert plain.hyper == {"beta": 0.1}


@pytest.mark.parametrize("recipe", [tiny_cpu, paper_qwen2_5_vl_7b, released_script], ids=lambda r: r.NAME)
def test_shrunk_is_the_same_run_but_for_its_size(recipe: Any, tiny: Tiny, tmp_path: Path) -> None:
    where = {"release": tiny.release, "out": tmp_path, "mimic_root": tiny.root}
    whole, shrunk = recipe.build(**where), recipe.build(**where, shrink=True)
    assert [type(s) for s in whole] == [type(s) for s in shrunk]
    for one, other in zip(whole, shrunk, strict=True):
        differ = {f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}
        if isinstance(one, align.TrainConfig):
            assert differ <= {"model", "limit", "max_steps", "max_completion"}
            assert (other.limit, other.max_steps) == (10, 2)
            models = [vars(s.model) | {"pretrained": None, "scratch": None, "dtype": ""} for s in (one, other)]
            assert models[0] == models[1]
        else:
            assert differ <= {"hyper"}
    text, vision = (getattr(shrunk[0].model.scratch, n) for n in ("text", "vision"))
    assert not text
    assert not vision
    scratch.write(shrunk[0].model, ["There is an effusion."] * 50, tmp_path / "base", seed=0)
    config = align.students.load_model(tmp_path / "base", dtype=torch.float32).config
    assert (config.text_config.num_hidden_layers, config.text_config.hidden_size) == (2, 64)
    assert config.vision_config.depth == 2


@pytest.mark.parametrize("recipe", [paper_qwen2_5_vl_7b, released_script], ids=lambda r: r.NAME)
def test_every_open_point_names_documents_and_choice(recipe: Any) -> None:
    assert all(isinstance(d, _parts.Decision) and d.setting and d.documents and d.taken for d in recipe.DECISIONS)
    assert len({d.setting for d in recipe.DECISIONS}) == len(recipe.DECISIONS)


@pytest.mark.parametrize("recipe", [tiny_cpu, paper_qwen2_5_vl_7b, released_script], ids=lambda r: r.NAME)
def test_the_header_holds_command_and_hardware(recipe: Any) -> None:
    assert f"train {recipe.NAME} " in recipe.__doc__ or f"{recipe.NAME} hardware" in recipe.__doc__
    assert "Hardware:" in recipe.__doc__
    assert recipe.NAME in recipes.names()


def test_a_release_that_has_the_consensus_needs_no_other(tiny: Tiny, tmp_path: Path) -> None:
    *_, consensus, _ = tiny_cpu.build(release=tiny.release, out=tmp_path / "a", mimic_root=tiny.root, limit=4)
    align.consensus.run(consensus)
    built = tiny_cpu.build(release=consensus.out, out=tmp_path / "b", mimic_root=tiny.root)
    assert [type(s).__name__ for s in built] == ["TrainConfig"] * 3
    assert len(tiny_cpu.build(release=tiny.release, out=tmp_path, strategy="gpt-5", sight_epochs=0)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": "2"}, "unknown option of tiny_cpu 'epoch'"),
        ({"epochs": "many"}, "epochs='many'"),
        ({"shrink": "maybe"}, "allowed: true or false"),
        ({"limit": "1.5"}, "limit='1.5'"),
    ],
)
def test_options_are_checked(tiny: Tiny, tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        recipes.stages(recipes.Order("tiny_cpu", tiny.release, tmp_path, options=options))


def test_options_come_as_what_they_are_declared(tiny: Tiny, tmp_path: Path) -> None:
    given = {
        "limit": "none",
        "epochs": "2.5",
        "teachers": "gpt-5,moonshot",
        "check_memory": "false",
        "strategy": "gpt-5",
    }
    _, sft, _ = recipes.stages(recipes.Order("tiny_cpu", tiny.release, tmp_path, options=given))
    assert (sft.limit, sft.epochs, sft.teachers, sft.check_memory) == (None, 2.5, ("gpt-5", "moonshot"), False)


@pytest.mark.parametrize(("pairs", "message"), [(["a"], "not key=value"), (["a=1", "a=2"], "given twice")])
def test_pairs_are_checked(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipes.parse(pairs)


def test_the_teaching_loop_gives_the_trainers_numbers(tiny: Tiny, tmp_path: Path) -> None:
    """The same losses step by step and the same weights, over more than an epoch."""
    torch.set_num_threads(1)
    sft, consensus, second = tiny_cpu.build(
        release=tiny.release,
        out=tmp_path,
        mimic_root=tiny.root,
        shrink=True,
        sight_epochs=0,
        teachers=("gpt-5", "moonshot"),
    )
    first = align.train(sft)
    made = align.consensus.run(consensus)
    settings = apo_loop.Settings(learning_rate=1e-3, max_steps=5)
    optimizer = align.Optimizer(learning_rate=1e-3, groups=2)
    trained = align.train(
        second.with_(
            release=made.folder,
            hyper={"beta": 0.1},
            max_steps=5,
            optimizer=optimizer,
            limit=None,
            teachers=(),
            fraction=1.0,
        )
    )
    groups = [g for g in apo_loop.groups_of(made.folder, tiny.root, "vote") if g.instance_id in trained.training_ids]
    losses = list(apo_loop.train(first.folder, groups, tmp_path / "loop", settings))
    rows = align.watch.read_log(tmp_path / "apo" / "log.jsonl")
    assert losses == pytest.approx([r["loss"] for r in rows], rel=1e-4)
    ours = align.students.load_model(tmp_path / "loop", dtype=torch.float32).state_dict()
    theirs = align.students.load_model(trained.folder, dtype=torch.float32).state_dict()
    # AdamW divides by the square root of tiny second moments, which enlarges rounding.
    assert all(torch.allclose(ours[k], theirs[k], atol=2e-4) for k in theirs)
