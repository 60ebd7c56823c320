"""`cxr-max drift` through its real process: a joined release, texts, exit codes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from cxr_max import data

QUICK = ["--draws", "20", "--permutations", "9", "--limit", "20", "--embedding-n", "10"]


def call(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cxr_max.cli import main; main()", "drift", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200", **env}
    )


def test_help_has_an_example() -> None:
    done = call("--help")
    assert done.returncode == 0
    assert "Example: cxr-max drift" in done.stdout


def test_a_joined_release_writes_report_and_restricted(release: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(release, "--mimic-root", world / "mimic", "--out", out, "--by", "split", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "Claude Sonnet-4" in done.stdout
    assert "precision, above shuffled" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["about"]["synthetic"]
    assert {r["by"] for r in report["teachers"]} == {None, "split"}
    weights = pl.read_parquet(out / "restricted" / "weights.parquet")
    assert set(weights.columns) >= {"instance_id", "teacher", "weight"}
    again = call(release, "--out", out, *QUICK)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_a_release_without_a_root_says_what_a_root_would_add(release: Path, tmp_path: Path) -> None:
    done = call(release, "--out", tmp_path / "out", *QUICK, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert "need a MIMIC-CXR root" in done.stdout
    assert "Claude Sonnet-4" in done.stdout  # names and values stay whole in a narrow terminal
    assert "…" not in done.stdout.partition("Tests")[0]


def test_texts_as_json_treated_as_real(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(
        "--texts", texts / "texts.jsonl", "--references", texts / "references.jsonl", "--out", out, "--json", *QUICK,
        CXR_MAX_TREAT_AS_REAL="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)
    assert shared == json.loads((out / "report.json").read_text())
    assert any(r.get("suppressed") for r in shared["teachers"])
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "no cell over fewer than 10 patients" in page
    assert "fewer than 10 patients</td>" in page
    restricted = out / "restricted"
    assert stat.S_IMODE(restricted.stat().st_mode) == 0o700
    assert (restricted / "RESTRICTED.md").is_file()


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ([], 2), (["--texts", "nothing.jsonl"], 3), (["nowhere"], 3), (["--references", "r.jsonl"], 2),
        (["--texts", "nothing.jsonl", "--level", "lobe"], 2),
    ],
)  # fmt: skip
def test_wrong_use_has_its_exit_code(args: list[str], code: int, tmp_path: Path) -> None:
    done = call(*args, "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_real_data_refuse_a_git_tree(texts: Path, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    done = call("--texts", texts / "texts.jsonl", "--out", tmp_path / "out", *QUICK, CXR_MAX_TREAT_AS_REAL="1")
    assert done.returncode == 2
    assert "git" in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()


def test_against_an_older_release(release: Path, world: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for source in (world / "raw").glob("*.jsonl"):
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        for row in rows if source.stem == "moonshot" else ():
            row["response"] = row["response"][: len(row["response"]) // 2]
        (raw / source.name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    data.build([raw], tmp_path / "old")
    out = tmp_path / "out"
    done = call(release, "--against", tmp_path / "old", "--out", out, *QUICK[:-1], 0)
    assert done.returncode == 0, done.stderr
    assert "trajectories shared" in done.stdout
    report = json.loads((out / "report.json").read_text())
    found = report["about"]["against"]
    assert found["changed_text"] > 0
    assert (found["added_trajectories"], found["removed_trajectories"]) == (0, 0)
    words = {r["teacher"]: r["value"] for r in report["teachers"] if r["metric"] == "change of n_words"}
    assert words["moonshot"] > 0
    assert {v for t, v in words.items() if t != "moonshot"} == {0}
    assert {"changes.png", "changes.svg"} <= {p.name for p in out.iterdir()}
    assert "Change against the older release" in (out / "index.html").read_text(encoding="utf-8")
