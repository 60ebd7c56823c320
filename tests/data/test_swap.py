"""A build leaves the old release or the new one, whenever it is killed."""

import errno
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cxr_max import data
from cxr_max.data import swap
from cxr_max.errors import RestrictedDataError, UsageError
from tests.data import toy

KILLED_AT = """
import os, shutil, signal, sys
from pathlib import Path
from cxr_max.data import swap

draft, place, at, turns = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "turns"
calls = 0

def counted(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

# Killed before the n-th of the calls that move, flush or remove something.
swap.flush_tree = counted(swap.flush_tree)
swap.os = type("os", (), {**vars(os), "rename": counted(os.rename)})
swap.fsync_dir = counted(swap.fsync_dir)
swap.shutil = type("shutil", (), {"rmtree": counted(shutil.rmtree)})
swap.exchange = (lambda a, b: False) if turns else counted(swap.exchange)
swap.put(draft, place, overwrite=True)
print(calls)
"""


def run(code: str, *args: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )


@pytest.mark.parametrize("way", ["exchange", "turns"])
def test_kills_around_the_exchange(way: str, tmp_path: Path) -> None:
    old = toy.release(tmp_path / "kept", "old", n=2, findings=False, version="1.0.0").path
    new = toy.release(tmp_path / "kept", "new", n=3, findings=False, version="2.0.0").path
    place, draft = tmp_path / "in" / "r", tmp_path / "in" / ".r.x.partial"

    def attempt(at: int) -> "subprocess.CompletedProcess[str]":
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(new, draft)
        return run(KILLED_AT, draft, place, at, way)

    shutil.copytree(old, place)
    whole = attempt(-1)
    assert whole.returncode == 0, whole.stderr
    n = int(whole.stdout)
    assert n >= 5
    seen = []
    for at in range(1, n + 1):
        shutil.rmtree(place.parent)
        shutil.copytree(old, place)
        assert attempt(at).returncode == -signal.SIGKILL
        release = data.open_release(place)
        assert release.verify().ok
        seen.append(release.version)
        # Whatever was left about, the next build goes through.
        assert attempt(-1).returncode == 0
        assert data.open_release(place).version == "2.0.0"
        assert [p.name for p in place.parent.iterdir()] == ["r"]
    # Every kill leaves one of the two whole, the old one up to some moment and the new one from then on.
    assert seen == sorted(seen)
    assert set(seen) == {"1.0.0", "2.0.0"}


def test_recovery_undoes_a_move_to_a_damaged_draft(tmp_path: Path) -> None:
    toy.release(tmp_path, "r", n=2, findings=False, version="1.0.0")
    toy.release(tmp_path, "new", n=2, findings=False, version="2.0.0")
    (tmp_path / "r").rename(tmp_path / ".r.old")
    (tmp_path / "new").rename(tmp_path / ".r.new")
    next((tmp_path / ".r.new" / "steps").iterdir()).unlink()
    assert data.open_release(tmp_path / "r").version == "1.0.0"
    assert not (tmp_path / ".r.new").exists()


def test_a_release_that_was_removed_stays_removed(tmp_path: Path) -> None:
    toy.release(tmp_path, "r", n=2, findings=False)
    (tmp_path / "r").rename(tmp_path / ".r.old")
    with pytest.raises(FileNotFoundError):
        data.open_release(tmp_path / "r")


def test_existing_places(tmp_path: Path) -> None:
    toy.release(tmp_path, "r", n=2, findings=False)
    with pytest.raises(UsageError, match="--overwrite"):
        toy.release(tmp_path, "r", n=2, findings=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no release"):
        toy.release(tmp_path, "mine", n=2, findings=False, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    assert toy.release(tmp_path, "empty", n=2, findings=False).verify().ok
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError):
        toy.release(tmp_path, "file", n=2)
    (tmp_path / "link").symlink_to(tmp_path / "r")
    with pytest.raises(UsageError, match="symbolic link"):
        toy.release(tmp_path, "link", n=2, findings=False, overwrite=True)


def test_exchange_says_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(swap.sys, "platform", "darwin")
    assert not swap.exchange(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(swap.sys, "platform", "linux")
    with pytest.raises(OSError) as e:
        swap.exchange(tmp_path / "a", tmp_path / "none")
    assert e.value.errno == errno.ENOENT


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.data import toy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
raw = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from cxr_max.cli import main
sys.argv = ["cxr-max", "build", str(raw / "raw"), "--out", str(raw / "out"), "--no-findings", "--jobs", "1"]
main()
"""


@pytest.mark.parametrize("room", [100, 5_000, 12_000])
def test_a_full_disk_leaves_nothing_and_says_so(room: int, tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE
    toy.write_jsonl(tmp_path / "raw" / "x.jsonl", toy.rows(60))
    done = run(FULL_DISK, tmp_path, room)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


IN_A_MOUNT = """
mount -t tmpfs -o {options} tmpfs "$1" || exit 77
{then}
"$2" -c "from cxr_max.cli import main; main()" build "$3" --out "$1/out" --no-findings --jobs 1
code=$?
ls -A "$1" >&2
exit $code
"""


def build_in_a_mount(folder: Path, options: str, then: str = "") -> "subprocess.CompletedProcess[str]":
    """Build into a file system of its own, in a mount namespace that ends with the process."""
    toy.write_jsonl(folder / "raw" / "x.jsonl", toy.rows(400))
    (folder / "mount").mkdir()
    script = IN_A_MOUNT.format(options=options, then=then)
    names = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*names, folder / "mount", sys.executable, folder / "raw"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this system gives users no mounts of their own")
    return done


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, a tool of Linux")
def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    done = build_in_a_mount(tmp_path, "size=128k")
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert "nothing was left there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if ".partial" in line or line == "out"]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, a tool of Linux")
def test_a_file_system_that_is_really_read_only(tmp_path: Path) -> None:
    done = build_in_a_mount(tmp_path, "size=10m", then='mount -o remount,ro "$1"')
    assert done.returncode in (2, 3), done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may write anywhere, so the answer of the system is put in its place.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UsageError, match="cannot write"):
        toy.release(tmp_path, "r", n=2, findings=False)


def test_real_data_are_private_and_outside_of_git(tmp_path: Path) -> None:
    done = toy.release(tmp_path, "r", records=toy.rows(2, synthetic=False), findings=False, version="1.0.0")
    assert stat.S_IMODE(done.path.stat().st_mode) == 0o700
    assert (done.path / ".gitignore").read_text() == "*\n"
    assert (done.path / "RESTRICTED.md").is_file()
    assert done.verify().ok
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError):
        toy.release(tmp_path, "s", records=toy.rows(2, synthetic=False), findings=False, version="1.0.0")
    (tmp_path / ".git").rmdir()
    with pytest.raises(UsageError, match="version"):
        toy.release(tmp_path, "t", records=toy.rows(2, synthetic=False), findings=False)
    assert toy.release(tmp_path, "u", n=2, findings=False).version == "0.0.0+synthetic.7"


KILLED_LATE = """
import sys
from pathlib import Path
from tests.data import toy
toy.release(Path(sys.argv[1]), "r", n=4000, findings=False)
"""


@pytest.mark.slow
def test_kills_at_any_time_leave_nothing_that_looks_finished(tmp_path: Path) -> None:
    code = textwrap.dedent(KILLED_LATE)
    finished = 0
    for i in range(20):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
        time.sleep(0.5 + 0.4 * i)
        process.kill()
        process.wait()
        if (tmp_path / "r").exists():
            finished += 1
            assert json.loads((tmp_path / "r" / "manifest.json").read_text())["version"]
            assert data.open_release(tmp_path / "r").verify().ok
            shutil.rmtree(tmp_path / "r")
    assert finished < 20
    # The next build removes what the killed ones left beside it.
    assert toy.release(tmp_path, "r", n=2, findings=False).verify().ok
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")] == []
