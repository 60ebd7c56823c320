"""The verbs of a release on the command line: what they print and how they exit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import toy


def cli(*args: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from cxr_max.cli import main; main()", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_build_verify_and_diff(tmp_path: Path) -> None:
    rows = [*toy.rows(20), {**toy.rows(1)[0], "response": None}]
    raw = toy.write_jsonl(tmp_path / "raw.jsonl", rows)
    done = cli("build", raw, "--out", tmp_path / "r", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["rejected"] == {"no_text": 1}
    assert outcome["tables"]["trajectories"]["rows"] == 140
    assert "trajectory <- response" in outcome["taken"][0]
    assert cli("verify", tmp_path / "r").returncode == 0
    toy.write_jsonl(raw, toy.rows(19))
    plain = cli("build", raw, "--out", tmp_path / "s", "--no-findings", "--jobs", "1")
    assert plain.returncode == 0, plain.stderr
    assert "What was taken for what" in plain.stdout
    found = json.loads(cli("diff", tmp_path / "r", tmp_path / "s", "--json").stdout)
    assert found["tables"]["trajectories"]["removed"] == 7
    assert found["tables"]["findings"]["gone"]
    assert "gpt-5" in cli("diff", tmp_path / "r", tmp_path / "s").stdout
    shard = next((tmp_path / "s" / "steps").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    checked = cli("verify", tmp_path / "s")
    assert checked.returncode == 1
    assert shard.name in checked.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["build", "none.jsonl", "--out", "r"], 3, "no file or folder"),
        (["build", "raw.jsonl", "--out", "r", "--version", "one"], 2, "no semantic version"),
        (["build", "raw.jsonl"], 2, "--out"),
        (["build", "raw.jsonl", "--out", "r", "--root", "nope=x"], 2, "unknown root"),
        (["verify", "none"], 3, "manifest.json"),
        (["diff", "none", "none"], 3, "manifest.json"),
    ],
)
def test_exit_codes(args: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.chdir(tmp_path)
    toy.write_jsonl(tmp_path / "raw.jsonl", toy.rows(2))
    done = cli(*args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
