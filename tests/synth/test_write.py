"""The whole tree: the same twice, all or nothing, and clear errors."""

import hashlib
from pathlib import Path

import pytest

from cxr_max import synth
from cxr_max.errors import CxrMaxError, RestrictedDataError, UnknownNameError, UsageError


def tree(root: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def test_the_same_command_gives_the_same_tree_whatever_the_number_of_jobs(world: Path, tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(subjects=60, images=False, seed=3, jobs=2), tmp_path / "again")
    assert tree(tmp_path / "again") == tree(world)


def test_films_are_the_same_bytes_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    for name, jobs in (("one", 1), ("two", 2)):
        synth.write_world(synth.WorldConfig(subjects=3, size=64, format="both", seed=2, jobs=jobs), tmp_path / name)
    trees = [tree(tmp_path / name) for name in ("one", "two")]
    assert trees[0] == trees[1]
    assert {Path(name).suffix for name in trees[0]} >= {".jpg", ".dcm"}


def test_another_seed_gives_another_world(world: Path, tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(subjects=60, images=False, seed=4), tmp_path / "other")
    assert tree(tmp_path / "other")["raw/gpt-5.jsonl"] != tree(world)["raw/gpt-5.jsonl"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"subjects": 0}, "subjects = 0"),
        ({"subjects": 5, "instances": 5}, "both"),
        ({"instances": -1}, "instances = -1"),
        ({"teachers": ("nobody",)}, "unknown teacher 'nobody'"),
        ({"teachers": ("gpt-5", "GPT-5-nano")}, "twice"),
        ({"error_correlation": 1.01}, "error correlation"),
        ({"error_correlation": float("nan")}, "error correlation"),
        ({"format": "png"}, "unknown image format"),
        ({"generations": 0}, "generations"),
        ({"seed": -1}, "seed"),
        ({"jobs": 0}, "jobs"),
        ({"size": 8}, "size"),
        ({"step_drift": 99.0}, "step drift"),
    ],
)
def test_bad_arguments_say_so_and_write_nothing(values: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=said):
        synth.write_world(synth.WorldConfig(**values), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    config = synth.WorldConfig(subjects=2, images=False)
    with pytest.raises(UsageError, match="not empty"):
        synth.write_world(config, tmp_path / "out")
    assert tree(tmp_path) == {"out/mine.txt": hashlib.sha256(b"mine").hexdigest()}
    synth.write_world(config, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "mine.txt").exists()
    assert (tmp_path / "out" / "SYNTHETIC").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise CxrMaxError("on purpose")

    monkeypatch.setattr("cxr_max.synth.write._describe", fail)
    with pytest.raises(CxrMaxError, match="on purpose"):
        synth.write_world(synth.WorldConfig(subjects=2, images=False), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_treated_as_real_it_is_private_and_kept_out_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    config = synth.WorldConfig(subjects=2, images=False)
    (tmp_path / "repository/.git").mkdir(parents=True)
    with pytest.raises(RestrictedDataError):
        synth.write_world(config, tmp_path / "repository/world")
    synth.write_world(config, tmp_path / "world")
    assert (tmp_path / "world").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "world/RESTRICTED.md").is_file()
