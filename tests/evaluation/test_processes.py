"""Whole runs of a small model through the command line: two processes, and a kill, end like one left in peace."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.align import small_models
from tests.evaluation import worlds
from tests.evaluation.test_hf import picture

TASK = "zero_shot_chestx_det10"
LIMIT = 40


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with readable images, a model, and the run of one process that nothing interrupted."""
    place = tmp_path_factory.mktemp("world")
    (place / "SYNTHETIC").touch()
    worlds.det10(place / "det10")
    for i in range(24):
        picture(place / "det10" / "test_data" / f"{i}.png", 80 + i, seed=i)
    small_models.qwen(place / "model")
    subprocess.run(command(place, place / "whole"), env=environment(), check=True, capture_output=True)
    return place


def command(place: Path, out: Path, *launcher: str) -> list[str]:
    module = ["-m", "cxr_max.cli", "eval", "--model", "hf", "--model-args", f"model={place / 'model'}"]
    options = ["--tasks", TASK, "--root", f"chestx-det10={place / 'det10'}", "--out", str(out)]
    return [sys.executable, *launcher, *module, *options, "--limit", str(LIMIT), "--batch-size", "3", "--draws", "20"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def launcher() -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--main_process_port", port]


def journal(out: Path) -> list[str]:
    return (out / "restricted" / "samples.jsonl").read_text().splitlines()


def written(out: Path) -> int:
    return sum(p.read_bytes().count(b"\n") for p in (out / "restricted").glob("samples*.jsonl"))


def test_two_processes_write_the_file_of_one(setup: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    subprocess.run(command(setup, out, *launcher()), env=environment(), check=True, capture_output=True)
    assert journal(out) == journal(setup / "whole")
    assert len(journal(out)) == LIMIT
    assert sorted(p.name for p in (out / "restricted").iterdir()) == ["run.json", "samples.jsonl"]
    scores = [json.loads((f / "scores.json").read_text())["scores"] for f in (out, setup / "whole")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_run_is_finished_by_one_process_as_if_nothing_had_been(
    processes: int, setup: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with_launcher = launcher() if processes > 1 else []
    started = subprocess.Popen(
        command(setup, out, *with_launcher), env=environment(), start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while started.poll() is None and written(out) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert 5 <= written(out) < LIMIT
    assert not (out / "scores.json").exists()
    subprocess.run(command(setup, out), env=environment(), check=True, capture_output=True)
    assert sorted(journal(out)) == sorted(journal(setup / "whole"))
    assert (out / "table.md").read_text() == (setup / "whole" / "table.md").read_text()
