"""Folders and files of our own: cache, restricted outputs, atomic writes.

Everything of class derived or source lies in folders only their owner can open, marked as restricted and ignored
by git; a folder inside a git work tree is refused, since one `git add -A` would share it.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from cxr_max.errors import RestrictedDataError, UsageError

TRAINING = "training.json"
"""Stands beside the weights of every model trained here, and says on what."""
NOTICE = """# Restricted

Derived from MIMIC-CXR under the PhysioNet Credentialed Health Data License 1.5.0.
Do not share, publish, upload or send this folder to any third party or online service.
"""


def treat_as_real() -> bool:
    """True when `CXR_MAX_TREAT_AS_REAL=1` asks that synthetic data meet every rule made for real data."""
    return os.environ.get("CXR_MAX_TREAT_AS_REAL", "") == "1"


def is_restricted(synthetic: bool) -> bool:
    """Whether the rules for restricted data hold for data with this synthetic mark."""
    return not synthetic or treat_as_real()


def cache_path() -> Path:
    """`$CXR_MAX_CACHE`, else the user's cache folder; it need not exist."""
    given = os.environ.get("CXR_MAX_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("cxr-max"))


def cache_dir() -> Path:
    """The cache folder, made with mode 0700 and a `.gitignore` of `*`: `$CXR_MAX_CACHE` may lie in a work tree."""
    path = private_dir(cache_path())
    if not (path / ".gitignore").exists():
        write_atomic(path / ".gitignore", "*\n")
    return path


def config_file() -> Path:
    """The user's configuration file; it need not exist."""
    given = os.environ.get("CXR_MAX_CONFIG")
    return Path(given).expanduser() if given else Path(platformdirs.user_config_dir("cxr-max")) / "config.toml"


def private_dir(path: Path) -> Path:
    """Make a folder only its owner can open (mode 0700), tightening one that exists and is ours."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def restricted_dir(path: Path) -> Path:
    """Make a folder for restricted outputs: 0700, with RESTRICTED.md and a `.gitignore` of `*`.

    Raises:
        RestrictedDataError: the folder lies inside a git work tree.
    """
    refuse_git(path)
    private_dir(path)
    (path / "RESTRICTED.md").write_text(NOTICE, encoding="utf-8")
    (path / ".gitignore").write_text("*\n", encoding="utf-8")
    return path


def output_dir(path: Path, *, synthetic: bool) -> Path:
    """Make an output folder: restricted unless the data are synthetic."""
    if is_restricted(synthetic):
        return restricted_dir(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def git_tree(path: Path) -> Path | None:
    """The git work tree a path lies in, as it is written or behind symbolic links; None when in none."""
    for place in (path.absolute(), path.resolve()):
        for parent in (place, *place.parents):
            if (parent / ".git").exists():
                return parent
    return None


def refuse_git(path: Path) -> None:
    """Raise when a path lies inside a git work tree, also by way of a symbolic link.

    Raises:
        RestrictedDataError: it does.
    """
    tree = git_tree(path)
    if tree is not None:
        raise RestrictedDataError(
            f"{path} lies inside the git work tree {tree}; restricted data may not be written there",
            next="choose a folder outside of any repository",
        )


def new_dir(path: Path, *, overwrite: bool = False) -> None:
    """Check that a folder may be written as new: absent or empty, or `overwrite`.

    Raises:
        UsageError: it holds something, is a file, or its parent cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, a folder was expected")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise UsageError(f"{path} is not empty", next="choose another folder or pass --overwrite")
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {parent}", next="choose another folder")


def fsync_dir(path: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Write a file so that a kill leaves either the old one or the whole new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask if mode is None else mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def sibling(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to fill; it is removed when the block fails, and left when it succeeds.

    What earlier processes left beside `path` when they were killed is removed first; see `sweep`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    with held(path, tempfile.mkdtemp) as draft:
        try:
            yield draft
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


@contextmanager
def held(path: Path, make: Callable[..., str]) -> Iterator[Path]:
    """Make a draft `.NAME.*.partial` beside `path` and lock it, so that no other process takes it for a left-over.

    The lock ends with the process, however that ends. Where the file system has no locks there is none, and nothing
    is ever swept.

    Args:
        path: what the draft is for; its parent is there.
        make: makes it: `tempfile.mkdtemp`, or a function of the same arguments that makes a file.
    """
    while True:
        draft = Path(make(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
        handle = _locked(draft, wait=True)
        if not draft.exists():
            # Swept between its making and its locking.
            if handle is not None:
                os.close(handle)
            continue
        try:
            yield draft
        finally:
            if handle is not None:
                os.close(handle)
        return


def sweep(path: Path) -> int:
    """Remove drafts `.NAME.*.partial` beside `path` that no process works on; returns how many."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.partial")
    swept = 0
    for draft in [p for p in path.parent.iterdir() if ours.fullmatch(p.name)] if path.parent.is_dir() else ():
        handle = _locked(draft, wait=False)
        if handle is None:
            continue
        try:
            if draft.is_dir():
                shutil.rmtree(draft, ignore_errors=True)
            else:
                draft.unlink(missing_ok=True)
            swept += 1
        finally:
            os.close(handle)
    return swept


def _locked(draft: Path, *, wait: bool) -> int | None:
    """A handle that holds the lock of a file or folder, or None: gone, in use (unless `wait`), or not to be locked."""
    try:
        handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
