"""`cxr-max synth` from the outside: output, exit codes, and what a kill leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr_max import cli

COMMAND = [sys.executable, "-c", "from cxr_max.cli import main; main()", "synth"]


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)


def test_it_writes_a_world_and_says_so(tmp_path: Path) -> None:
    done = _run("--out", str(tmp_path / "w"), "--subjects", "4", "--no-images", "--teachers", "gpt-5,grok", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["subjects"] == 4
    assert said["synthetic"] is True
    assert said["trajectories"] == 2 * said["instances"]
    assert sorted(p.name for p in (tmp_path / "w/raw").iterdir()) == ["gpt-5.jsonl", "grok-4.jsonl"]


def test_an_exact_number_of_instances_with_generations(tmp_path: Path) -> None:
    done = _run("--out", str(tmp_path / "w"), "--instances", "7", "--no-images", "--generations", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["instances"] == 7
    rows = [json.loads(x) for x in (tmp_path / "w/raw/gpt-5.jsonl").read_text().splitlines()]
    assert sorted((r["image"], r["generation"]) for r in rows) == sorted(
        {(r["image"], g) for r in rows for g in (0, 1)}
    )
    assert len(rows) == 14
    assert len({r["response"] for r in rows}) == 14


@pytest.mark.parametrize(
    "options",
    [
        ["--subjects", "0"],
        ["--error-correlation", "2"],
        ["--teachers", "nobody"],
        ["--format", "tiff"],
        ["--subjects", "3", "--instances", "3"],
        ["--size", "many"],
    ],
)
def test_wrong_use_exits_2_and_writes_nothing(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cxr-max", "synth", "--out", str(tmp_path / "w"), *options])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_and_a_file_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    done = _run("--out", str(tmp_path / "full"), "--subjects", "1")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert "Traceback" not in done.stderr
    assert _run("--out", str(tmp_path / "full/file"), "--subjects", "1").returncode == 2
    assert os.listdir(tmp_path / "full") == ["file"]


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    out = tmp_path / "w"
    process = subprocess.Popen([*COMMAND, "--out", str(out), "--subjects", "400", "--no-images"])
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".w.*.partial/raw/gpt-5.jsonl")) and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []
    done = _run("--out", str(out), "--subjects", "2", "--no-images")
    assert done.returncode == 0, done.stderr
    assert (out / "SYNTHETIC").is_file()
