"""Killed at any moment, a run goes on and ends with the weights it would have had."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.trainer_utils import get_last_checkpoint

from cxr_max import align
from cxr_max.align import checkpoints, watch
from tests import tiny_world
from tests.tiny_world import Tiny

START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["cxr_max.align.training", "cxr_max.mimic.joined", "cxr_max.mimic.forms"])


def _train(config: Any, cache: str) -> None:
    # A sum over two threads may round otherwise than over one.
    torch.set_num_threads(1)
    os.environ["CXR_MAX_CACHE"] = cache
    align.train(config)


def _live(config: Any, cache: Path, until: Callable[[], bool] | None = None, delay: float = 0.0) -> bool:
    """Run a stage in a process of its own; kill it some time after `until` holds. Whether it was killed."""
    child = START.Process(target=_train, args=(config, str(cache)))
    child.start()
    while until is not None and child.is_alive():
        if until():
            time.sleep(delay)
            child.kill()
            break
        time.sleep(0.0005)
    child.join(300)
    assert child.exitcode in (0, -9)
    return child.exitcode == -9


def _saving(out: Path) -> Callable[[], bool]:
    """A checkpoint is being written, or the finished model is."""
    return lambda: any(
        not (p / checkpoints.MARKER).exists() for p in (*out.glob("checkpoint-*"), *out.glob(".final.*.partial"))
    )


def _stepped(out: Path, n: int) -> Callable[[], bool]:
    log = out / "log.jsonl"
    return lambda: log.is_file() and len(log.read_text().splitlines()) >= n


def _weights(out: Path) -> bytes:
    return (out / "final" / "model.safetensors").read_bytes()


def test_three_kills_leave_no_trace(tiny: Tiny, tmp_path: Path) -> None:
    whole = tiny_world.stage(tiny, tmp_path / "whole", max_steps=5, save_steps=2, log_steps=1)
    assert not _live(whole, tmp_path / "cache")
    out = tmp_path / "killed"
    config = whole.with_(out=out)
    assert _live(config, tmp_path / "cache", _saving(out))
    assert _live(config, tmp_path / "cache", _stepped(out, 3))
    assert _live(config, tmp_path / "cache", _saving(out), delay=0.005)
    assert not _live(config, tmp_path / "cache")
    assert _weights(out) == _weights(whole.out)
    # Nor in the log: each step stands once, with the numbers of the run that was never killed.
    rows, expected = (watch.read_log(o / "log.jsonl") for o in (out, whole.out))
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5]
    assert [r["loss"] for r in rows] == [r["loss"] for r in expected]
    costs = [align.students.read_training(o / "final")["cost"] for o in (out, whole.out)]
    assert costs[0]["trunk_tokens"] == costs[1]["trunk_tokens"]
    assert costs[0]["flop"] == costs[1]["flop"]
    assert not list(out.glob(".final.*"))


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["supervised", "preferences with an adapter"])
def test_many_kills_leave_no_trace(tiny: Tiny, tmp_path: Path, adapter: bool) -> None:
    """Fifty kills over the two runs, every second one aimed at a checkpoint being written."""
    cache, draw = tmp_path / "cache", random.Random(5)
    whole = tiny_world.stage(tiny, tmp_path / "whole", max_steps=30, save_steps=1, log_steps=1)
    if adapter:
        assert not _live(whole.with_(max_steps=2), cache)
        lora = align.ModelSpec(lora=align.Lora(rank=2, dropout=0.1))
        settings = {"model": lora, "max_steps": 30, "save_steps": 1}
        whole = tiny_world.preferences(tiny, tmp_path / "second", tmp_path / "whole" / "final", **settings)
    assert not _live(whole, cache)
    out = tmp_path / "killed"
    config, kills = whole.with_(out=out), 0
    while kills < 25:
        lines = len(watch.read_log(out / "log.jsonl"))
        aim = _saving(out) if kills % 2 else _stepped(out, lines + 1)
        kills += _live(config, cache, aim, delay=draw.uniform(0, 0.03))
        assert not (out / "final").exists(), "the run was over before all kills were made"
    assert not _live(config, cache)
    name = "adapter_model.safetensors" if adapter else "model.safetensors"
    assert (out / "final" / name).read_bytes() == (whole.out / "final" / name).read_bytes()


def test_a_checkpoint_counts_with_its_marker_alone(tmp_path: Path) -> None:
    def made(step: int, *, sealed: bool) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "part").mkdir(parents=True)
        (folder / "weights").write_bytes(b"12345")
        (folder / "part" / "more").write_bytes(b"1")
        if sealed:
            checkpoints.seal(folder)
        return folder

    first, second, half = made(2, sealed=True), made(10, sealed=True), made(12, sealed=False)
    (tmp_path / ".final.x.partial").mkdir()
    assert checkpoints.whole(tmp_path) == [first, second]
    # The stock function would go on from the half-written one, and fail.
    assert get_last_checkpoint(str(tmp_path)) == str(half)
    assert checkpoints.clean(tmp_path) == [".final.x.partial", "checkpoint-12"]
    # After a power cut a file can be shorter than it was when the marker was written.
    (second / "part" / "more").write_bytes(b"")
    assert checkpoints.whole(tmp_path) == [first]
    assert checkpoints.clean(tmp_path) == ["checkpoint-10"]
    (first / checkpoints.MARKER).write_text("[")
    assert checkpoints.whole(tmp_path) == []


def test_older_checkpoints_go_once_the_next_is_sealed(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / f"checkpoint-{step}").mkdir()
        checkpoints.seal(tmp_path / f"checkpoint-{step}")
    checkpoints.rotate(tmp_path, 2)
    assert [p.name for p in checkpoints.whole(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
