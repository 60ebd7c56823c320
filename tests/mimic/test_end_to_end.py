"""From a synthetic world over a release to joined rows, on the command line."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import cxr_max
from cxr_max import mimic


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from cxr_max.cli import main; sys.argv[0] = 'cxr-max'; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("end")
    made = run("synth", "--out", top / "world", "--subjects", "12", "--no-images")
    assert made.returncode == 0, made.stderr
    raw = sorted((top / "world" / "raw").glob("*.jsonl"))
    built = run("build", *raw, "--out", top / "release", "--version", "0.0.0+synthetic.0", "--no-findings")
    assert built.returncode == 0, built.stderr
    return top


def test_join_on_the_command_line(world: Path, tmp_path: Path) -> None:
    args = ("mimic", "join", world / "release", "--mimic-root", world / "world" / "mimic", "--out", tmp_path / "out")
    done = run(*args, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["id_status"] == {"agree": counts["instances"]}
    assert counts["split_status"] == {"agree": counts["instances"]}
    assert counts["report_status"] == {"present": counts["instances"]}
    assert not (tmp_path / "out" / "RESTRICTED.md").exists(), "all of it is synthetic"
    references = pl.read_parquet(tmp_path / "out" / "references.parquet")
    assert {"found"} <= set(references["report_status"]) <= {"found", "no_usable_text"}
    again = run(*args)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert run(*args, "--overwrite").returncode == 0


def test_join_of_what_is_not_there(world: Path, tmp_path: Path) -> None:
    root = ("--mimic-root", world / "world" / "mimic", "--out", tmp_path / "out")
    assert run("mimic", "join", tmp_path, *root).returncode == 3
    assert run("mimic", "join", world / "release", *root, "--labeler", "gpt").returncode == 2
    assert run("mimic", "join", world / "release", *root, "--prefer", "png").returncode == 2
    assert not (tmp_path / "out").exists(), "nothing is left behind by a command that fails"


def test_treated_as_real_the_output_is_restricted(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    out = tmp_path / "out"
    done = run("mimic", "join", world / "release", "--mimic-root", world / "world" / "mimic", "--out", out, "--no-text")
    assert done.returncode == 0, done.stderr
    assert (out / "RESTRICTED.md").is_file()
    assert out.stat().st_mode & 0o777 == 0o700


def test_every_row_of_the_release_is_joined(world: Path) -> None:
    release = cxr_max.open_release(world / "release")
    joined = mimic.join(release, world / "world" / "mimic")
    assert joined.synthetic
    rows = joined.frame_with_text.collect()
    assert rows.height == release.scan("trajectories").select(pl.len()).collect().item()
    assert rows["instance_id"].to_list() == release.scan("trajectories").collect()["instance_id"].to_list()
    assert len(joined.dataset()) == rows.height
    assert joined.coverage.label_agreement["equal"].count > 0


def test_a_changed_byte_of_a_table_is_found_by_verify(world: Path, tmp_path: Path) -> None:
    release, root = world / "release", world / "world" / "mimic"
    done = run("mimic", "join", release, "--mimic-root", root, "--out", tmp_path / "a", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["hash_status"]) == {"ok"}
    table = root / "mimic-cxr-2.0.0-negbio.csv.gz"
    kept = table.read_bytes()
    table.write_bytes(kept + gzip.compress(b""))
    done = run("mimic", "join", release, "--mimic-root", root, "--out", tmp_path / "b", "--verify", "--json")
    table.write_bytes(kept)
    assert done.returncode == 1
    assert json.loads(done.stdout)["bad_tables"] == [table.name]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_load_dataset_with_a_root_gives_the_same(world: Path, split: str) -> None:
    root = world / "world" / "mimic"
    loaded = cxr_max.load_dataset("trajectories", release=world / "release", mimic_root=root, split=split)
    joined = mimic.join(cxr_max.open_release(world / "release"), root).dataset(split=split)
    assert set(loaded.column_names) == set(joined.column_names)
    paths = mimic.Radiograph(decode=False)
    ours, theirs = joined.cast_column("image", paths), loaded.cast_column("image", paths)
    assert len(ours) == len(theirs) > 0
    for name in joined.column_names:
        assert theirs[name][:] == ours[name][:], name
        assert str(theirs.features[name]) == str(ours.features[name]), name
