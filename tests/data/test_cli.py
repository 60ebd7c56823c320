"""The verbs of a release on the command line: what they print and how they exit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import toy
from tests.hub_server import Hub


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


HUB = """
import sys
from pathlib import Path
import huggingface_hub
from cxr_max import data
from cxr_max.errors import DataError
folder = Path(sys.argv[1])
api = huggingface_hub.HfApi()
api.create_repo("lab/raw", repo_type="dataset", private=True)
api.upload_folder(repo_id="lab/raw", repo_type="dataset", folder_path=folder / "raw")
done = data.build(["hf://datasets/lab/raw@main"], folder / "r", findings=False)
[source] = done.release.manifest["sources"]
assert source["repo"] == "lab/raw", source
assert source["revision"] == api.dataset_info("lab/raw").sha, source
assert done.release.verify().ok
for address in ("hf://datasets/lab/none", "hf://datasets/lab/raw@v9"):
    try:
        data.build([address], folder / "s", findings=False)
    except DataError as e:
        assert "cannot fetch" in str(e)
    else:
        raise SystemExit("no error")
assert not (folder / "s").exists()
"""


def test_raw_files_on_a_hub(tmp_path: Path) -> None:
    toy.write_jsonl(tmp_path / "raw" / "data" / "gpt-5.jsonl", toy.rows(5, ["gpt-5"]))
    (tmp_path / "raw" / "README.md").write_text("# raw")
    with Hub(tokens={"token": "lab"}) as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        environment |= {
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "CXR_MAX_CACHE": str(tmp_path / "cache"),
        }
        done = subprocess.run(
            [sys.executable, "-c", HUB, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
