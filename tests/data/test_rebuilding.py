"""An index and one's own raw files give the full release back; anything else is refused and leaves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cxr_max
from cxr_max import cli, data
from cxr_max.data import index, locate
from cxr_max.errors import CheckFailedError, UsageError
from tests.data import toy


@pytest.fixture
def full(tmp_path: Path) -> Any:
    return toy.release(tmp_path, n=20)


@pytest.fixture
def public(full: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    index.write(locate.read(full.path), folder)
    return folder


def test_the_index_of_a_built_release_verifies_loads_and_compares(full: Any, public: Path) -> None:
    opened = cxr_max.open_release(public)
    assert opened.verify().ok, opened.verify().to_dict()
    assert opened.tables == ("instances", "trajectories")
    assert opened.diff(opened).to_dict() is not None
    loaded = cxr_max.load_dataset("instances", release=public)
    assert sum(map(len, loaded.values())) == 20
    assert "diseases" not in loaded["train"].column_names


def test_raw_files_and_index_give_the_full_release(full: Any, public: Path, tmp_path: Path) -> None:
    shuffled = toy.write_jsonl(tmp_path / "mine" / "shuffled.jsonl", list(reversed(toy.rows(20))))
    made = data.rebuild(public, [shuffled], tmp_path / "again")
    assert made.same == tuple(full.manifest["tables"])
    assert (made.absent, made.other) == ((), ())
    assert made.built.release.manifest["release_hash"] == full.manifest["release_hash"]
    assert made.built.release.path == tmp_path / "again"
    assert made.built.release.verify().ok
    assert not list(tmp_path.glob(".again*"))


def test_the_command_line_rebuilds(full: Any, public: Path, tmp_path: Path) -> None:
    raw = str(toy.write_jsonl(tmp_path / "mine" / "rows.jsonl", toy.rows(20)))
    wanted = ["build", raw, "--out", str(tmp_path / "again"), "--index", str(public)]
    done = CliRunner().invoke(cli.application(), [*wanted, "--json"])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout[done.stdout.index("{") :])
    assert outcome["release_hash"] == full.manifest["release_hash"]
    assert "every text is the one the index names" in " ".join(outcome["notes"])
    assert cxr_max.open_release(tmp_path / "again").version == full.version
    wrong = CliRunner().invoke(cli.application(), [*wanted, "--version", "1.0.0"])
    assert isinstance(wrong.exception, UsageError)


def test_without_findings_the_texts_are_checked_all_the_same(full: Any, public: Path, tmp_path: Path) -> None:
    raw = toy.write_jsonl(tmp_path / "mine" / "rows.jsonl", toy.rows(20))
    made = data.rebuild(public, [raw], tmp_path / "again", findings=False)
    assert "findings" in made.absent
    assert "instances" in made.same


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_other_raw_files_are_refused_and_leave_nothing(public: Path, tmp_path: Path, damage: str) -> None:
    rows = toy.rows(20 if damage != "added" else 21)
    if damage == "changed":
        rows[3]["response"] += " "
        rows[3]["response"] += "More."
    if damage == "missing":
        rows.pop(5)
    raw = toy.write_jsonl(tmp_path / "mine" / "rows.jsonl", rows)
    with pytest.raises(CheckFailedError, match="not those of") as caught:
        data.rebuild(public, [raw], tmp_path / "again")
    assert "More." not in str(caught.value)
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".again*"))


def test_wrong_use(full: Any, public: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no index"):
        data.rebuild(full.path, [], tmp_path / "again")
    with pytest.raises(UsageError, match="exists already"):
        data.rebuild(public, [], public)
