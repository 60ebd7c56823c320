"""Folders only their owner can open, atomic writes, and no restricted folder inside a git work tree."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_max import folders
from cxr_max.errors import RestrictedDataError, UsageError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_cache_is_private(own_folders: Path) -> None:
    assert folders.cache_dir() == own_folders / "cache"
    assert _mode(folders.cache_dir()) == 0o700


def test_an_open_folder_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(mode=0o755)
    assert _mode(folders.private_dir(tmp_path / "x")) == 0o700


def test_real_outputs_are_marked_and_private_and_synthetic_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folders.output_dir(tmp_path / "real", synthetic=False)
    assert _mode(real) == 0o700
    assert (real / ".gitignore").read_text() == "*\n"
    assert "Do not share" in (real / "RESTRICTED.md").read_text()
    assert list(folders.output_dir(tmp_path / "made", synthetic=True).iterdir()) == []
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    assert (folders.output_dir(tmp_path / "made2", synthetic=True) / "RESTRICTED.md").exists()


def test_a_folder_in_a_git_work_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError, match="git work tree"):
        folders.output_dir(tmp_path / "a" / "b", synthetic=False)
    assert not (tmp_path / "a").exists()


def test_a_link_into_a_git_work_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    (tmp_path / "tree" / "inside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tree" / "inside")
    for path in (tmp_path / "link", tmp_path / "link" / "a" / "b"):
        with pytest.raises(RestrictedDataError, match="git work tree"):
            folders.refuse_git(path)
    # A link that stands in a tree and leads out of it: git sees the link, and the user may mean either.
    (tmp_path / "out").mkdir()
    (tmp_path / "tree" / "away").symlink_to(tmp_path / "out")
    with pytest.raises(RestrictedDataError, match="git work tree"):
        folders.refuse_git(tmp_path / "tree" / "away" / "x")


def test_git_ignores_a_cache_that_lies_in_a_work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path / "cache"))
    (folders.cache_dir() / "text").write_text("x", encoding="utf-8")
    seen = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert seen.stdout == ""


def test_new_dir_refuses_what_holds_something(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        folders.new_dir(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        folders.new_dir(tmp_path / "file")
    folders.new_dir(tmp_path, overwrite=True)
    folders.new_dir(tmp_path / "a" / "b")


def test_write_atomic_replaces_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    folders.write_atomic(target, "old")
    folders.write_atomic(target, b"new", mode=0o600)
    assert target.read_text() == "new"
    assert _mode(target) == 0o600
    with pytest.raises(TypeError):
        folders.write_atomic(target, 3)  # type: ignore[arg-type]
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.json"]


def test_sibling_is_removed_when_the_work_fails(tmp_path: Path) -> None:
    def fails() -> None:
        with folders.sibling(tmp_path / "out") as draft:
            (draft / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(tmp_path.iterdir()) == []
    with folders.sibling(tmp_path / "out") as draft:
        pass
    assert draft.parent == tmp_path
    assert draft.exists()


WORKING = """
import sys, time
from pathlib import Path
from cxr_max import folders
from cxr_max.data import swap
with (folders.sibling if sys.argv[2] == "folder" else swap.draft_file)(Path(sys.argv[1])) as draft:
    (draft / "x" if draft.is_dir() else draft).write_text("half")
    print(draft.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_process_left_is_swept_and_what_a_running_one_works_on_is_not(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "in" / "out"
    command = [sys.executable, "-c", WORKING, str(place), kind]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        names = [str(p.stdout.readline()).strip() for p in running if p.stdout]
        other = tmp_path / "in" / ".out.mine.partial"
        other.mkdir()
        assert folders.sweep(place) == 0
        running[0].kill()
        running[0].wait()
        assert sorted(p.name for p in place.parent.iterdir()) == sorted([*names, other.name])
        with folders.sibling(place) as draft:
            assert sorted(p.name for p in place.parent.iterdir()) == sorted([names[1], other.name, draft.name])
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.communicate()
    assert folders.sweep(place) == 2
    assert [p.name for p in place.parent.iterdir()] == [other.name]


def test_many_makers_and_sweepers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cxr_max import folders\n"
        "end = time.monotonic() + 1.5\n"
        "while time.monotonic() < end:\n"
        "    with folders.sibling(Path(sys.argv[1])) as draft:\n"
        "        (draft / 'x').write_text('whole')\n"
        "        time.sleep(0.001)\n"
        "        assert (draft / 'x').read_text() == 'whole'\n"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")]) for _ in range(3)]
    assert [p.wait() for p in makers] == [0, 0, 0]
    folders.sweep(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
