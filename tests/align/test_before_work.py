"""What would fail an hour later fails before work starts, and says what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import TrainerControl, TrainerState

from cxr_max import align, folders, mimic
from cxr_max.align import gather, plan, training, watch
from cxr_max.align.config import validate
from cxr_max.errors import CxrMaxError, CxrMaxWarning, DataError, DivergedError, UsageError
from cxr_max.mimic.guard import guard
from tests import tiny_world
from tests.tiny_world import Tiny


def _fails(config: Any, error: type[CxrMaxError], message: str) -> None:
    with pytest.raises(error, match=message):
        align.train(config)
    assert not (config.out / "final").exists()
    assert not list(config.out.glob("checkpoint-*"))


@pytest.fixture
def copy(stages: tuple[Any, Any], tmp_path: Path) -> Path:
    """A copy of the supervised student to spoil."""
    return Path(shutil.copytree(stages[0].folder, tmp_path / "student"))


def test_a_vocabulary_beyond_the_embedding(tiny: Tiny, copy: Path, tmp_path: Path) -> None:
    path = copy / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 9000, "content": "<|more|>"})
    path.write_text(json.dumps(tokenizer))
    _fails(tiny_world.preferences(tiny, tmp_path / "out", copy), DataError, "entries, the model's embedding")


def test_a_processor_of_another_model(tiny: Tiny, copy: Path, tmp_path: Path) -> None:
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patch_size": 16}))
    _fails(tiny_world.preferences(tiny, tmp_path / "out", copy), DataError, "patch_size 16, the model's vision tower")


def test_an_image_longer_than_the_sequence(tiny: Tiny, stages: tuple[Any, Any], tmp_path: Path) -> None:
    config = tiny_world.preferences(tiny, tmp_path / "out", stages[0].folder, max_length=20)
    _fails(config, DataError, "prompt and image are .* tokens, the maximal length is 20")


def test_no_positive(tiny: Tiny, stages: tuple[Any, Any], tmp_path: Path) -> None:
    config = tiny_world.preferences(tiny, tmp_path / "out", stages[0].folder)
    _fails(config.with_(positives="teachers"), UsageError, "no positive")
    _fails(config.with_(positives="vote"), UsageError, "no positive: the release has no table")


def test_negatives_that_are_the_positive(
    tiny: Tiny, stages: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gather._against_the_others

    def echo(trajectories: pl.DataFrame, teacher: str) -> pl.DataFrame:
        same = pl.struct(teacher=pl.lit("moonshot"), generation=0, trajectory="chosen")
        return real(trajectories, teacher).with_columns(rejected=pl.concat_list(same))

    monkeypatch.setattr(gather, "_against_the_others", echo)
    config = tiny_world.preferences(tiny, tmp_path / "out", stages[0].folder)
    _fails(config, DataError, "same text as the positive': 8")


def test_a_reference_cache_of_another_model(tiny: Tiny, stages: tuple[Any, Any], tmp_path: Path) -> None:
    kept = stages[1].folder.parent / "reference"
    config = tiny_world.preferences(tiny, tmp_path / "out", stages[1].folder, reference_cache=kept)
    _fails(config, DataError, "another reference's: model differ")


def test_too_little_memory(
    tiny: Tiny, stages: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda device: 1000)
    config = tiny_world.preferences(tiny, tmp_path / "out", stages[0].folder)
    _fails(config, UsageError, "GiB by estimate")


def test_settings_that_cannot_be(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny_world.stage(tiny, tmp_path)
    for changes, message in (
        ({"template": "cot"}, "unknown template"),
        ({"hyper": {"beta": 1}}, "sft has no setting beta"),
        ({"teachers": ("nobody",)}, "no teacher nobody"),
        ({"trackers": ("wandb",)}, "sends metrics to another machine"),
        ({"fraction": 0.0}, "fraction 0.0"),
        ({"max_steps": 0}, "max_steps 0"),
    ):
        with pytest.raises(UsageError, match=message):
            validate(config.with_(**changes))


OWN = """from cxr_max.align.methods.sft import Hyper, NAME, NEEDS, SUPERVISED
from cxr_max.align.methods import sft

def loss(group, hyper):
    output = sft.loss(group, hyper)
    {line}
"""


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("return output.losses", r"own\.py: line 6: AttributeError"),
        ("return output._replace(metrics={})", "lack 'denominator'"),
    ],
)
def test_a_method_that_fails_is_named_with_its_line(tiny: Tiny, tmp_path: Path, line: str, error: str) -> None:
    (tmp_path / "own.py").write_text(OWN.format(line=line))
    _fails(tiny_world.stage(tiny, tmp_path / "out").with_(method=str(tmp_path / "own.py")), UsageError, error)


@pytest.mark.parametrize("factor", ["nan", "inf"])
def test_training_that_diverges_stops_and_leaves_no_student(tiny: Tiny, tmp_path: Path, factor: str) -> None:
    line = f"return output._replace(loss=output.loss * float('{factor}'))"
    (tmp_path / "own.py").write_text(OWN.format(line=line))
    config = tiny_world.stage(tiny, tmp_path / "out").with_(method=str(tmp_path / "own.py"))
    with pytest.raises(DivergedError, match="training diverged: "):
        align.train(config)
    assert not (config.out / "final").exists()


def test_images_need_a_root(tiny: Tiny, tmp_path: Path) -> None:
    _fails(tiny_world.stage(tiny, tmp_path / "out", mimic_root=()), UsageError, "no MIMIC-CXR root")


def test_real_data_never_go_to_a_hub_and_carry_their_notice(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    config = tiny_world.stage(tiny, tmp_path / "out", max_steps=1, trainer={"push_to_hub": True})
    assert not training.arguments(config, 8, synthetic=True).push_to_hub
    final = align.train(config.with_(trainer={})).folder
    card = (final / "README.md").read_text()
    assert "PhysioNet's guidelines" in card
    assert "data class: **derived**" in card
    assert (final / "RESTRICTED.md").read_text() == folders.NOTICE
    for folder in (final, tmp_path / "out", tmp_path / "out" / "checkpoint-1"):
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / ".gitignore").read_text() == "*\n"
    # Where it lies it may lie; copied out, by its files alone, the guard knows it for what it is.
    assert guard(final, mimic.open_root(tiny.root)).ok
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("model.safetensors", "training.json"):
        shutil.copy(final / name, copied)
    leaks = guard(copied, mimic.open_root(tiny.root)).leaks
    assert "model.safetensors" in {Path(leak.where).name for leak in leaks}


class _Kept:
    requires_logging_directory = False
    rows: list[dict[str, Any]] = []

    def __init__(self, name: str, **more: Any) -> None:
        assert not more

    def log(self, values: dict[str, Any], step: int) -> None:
        self.rows.append(values)

    def finish(self) -> None:
        pass


def test_remote_trackers_get_numbers_alone(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate.tracking

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", _Kept)
    real = watch.require
    monkeypatch.setattr(watch, "require", lambda name, **kw: None if name == "wandb" else real(name, **kw))
    config = tiny_world.stage(tiny, tmp_path, trackers=("wandb",), remote_metrics=True)
    tracker = watch.Trackers(config)
    logs = {"loss": 1.0, "text": "There is an effusion.", "nan": float("nan"), "list": ["x"]}
    tracker.on_log(None, TrainerState(is_world_process_zero=True), TrainerControl(), logs=logs)
    assert _Kept.rows == [{"loss": 1.0}]


@pytest.mark.parametrize("name", ["h_per_token/chosen", "logps_per_token/chosen"])
def test_a_sinking_chosen_is_told_once(name: str) -> None:
    watcher, state = watch.Sinking(), TrainerState()
    for value in [0.0] * 10 + [-0.05] * 10:
        watcher.on_log(None, state, None, logs={name: value})
    for _ in range(3):
        watcher.on_log(None, state, None, logs={name: -0.2})
    with pytest.warns(CxrMaxWarning, match="sinks"):
        watcher.on_log(None, state, None, logs={name: -0.3})
    watcher.on_log(None, state, None, logs={name: -0.9})
