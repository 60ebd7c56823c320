"""Put a finished folder in its place in one step; nothing that looks finished is ever half of it.

A draft is a hidden sibling `.NAME.*.partial`, flushed to disk before it moves. A new place is one rename. An existing
one is exchanged with the draft in one step where the system can (Linux `renameat2`); elsewhere the draft becomes
`.NAME.new`, the old one `.NAME.old`, then the draft moves in, and `recover` finishes or undoes that move after a kill:

    NAME present                       nothing to do; `.NAME.old` and `.NAME.new` are left-overs
    NAME missing, .new and .old there  finish: .new moves in, unless it is damaged: then .old moves back
"""

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxr_max.errors import UsageError
from cxr_max.folders import fsync_dir, held, sweep

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


@contextmanager
def draft_file(place: Path) -> Iterator[Path]:
    """A hidden sibling of a file to write; it takes the file's place, flushed to disk, when the block succeeds.

    The file can be read by its owner only: what is written this way may hold restricted data.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place)
    with held(place, _empty_file) as draft:
        try:
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, place)
            fsync_dir(place.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _empty_file(**names: Any) -> str:
    handle, name = tempfile.mkstemp(**names)
    os.close(handle)
    return str(name)


def flush_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to disk."""
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            handle = os.open(Path(path) / name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        fsync_dir(Path(path))


def put(draft: Path, place: Path, *, overwrite: bool) -> None:
    """Move a finished draft to its place; both lie in the same folder.

    Raises:
        UsageError: the place is taken and `overwrite` is not given.
    """
    flush_tree(draft)
    if place.is_symlink():
        raise UsageError(f"{place} is a symbolic link", next="give the folder itself as --out")
    taken = place.is_dir() and any(place.iterdir())
    if taken and not overwrite:
        raise UsageError(f"{place} is not empty", next="choose another folder or pass --overwrite")
    if not taken:
        # On POSIX a rename replaces an empty folder.
        os.rename(draft, place)
        fsync_dir(place.parent)
        return
    if exchange(draft, place):
        fsync_dir(place.parent)
        # The draft's name now holds the old content, which no reader looks at; another build may be sweeping it too.
        shutil.rmtree(draft, ignore_errors=True)
        return
    _by_turns(draft, place)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot.

    Raises:
        OSError: it can, but failed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _by_turns(draft: Path, place: Path) -> None:
    new, old = _aside(place)
    discard(place)
    os.rename(draft, new)
    fsync_dir(place.parent)
    os.rename(place, old)
    fsync_dir(place.parent)
    os.rename(new, place)
    fsync_dir(place.parent)
    discard(place)


def recover(place: Path, sound: Callable[[Path], bool]) -> None:
    """Finish or undo a move that was cut short; does nothing when there was none.

    Args:
        place: where the folder belongs.
        sound: whether a folder is complete.
    """
    new, old = _aside(place)
    # Both names exist without the place only between the second and the third rename.
    if os.path.lexists(place) or not (new.is_dir() and old.is_dir()):
        return
    os.rename(new if sound(new) else old, place)
    fsync_dir(place.parent)
    discard(place)


def discard(place: Path) -> None:
    """Remove what an earlier move left beside an existing place."""
    if os.path.lexists(place):
        for left in _aside(place):
            shutil.rmtree(left, ignore_errors=True)


def _aside(place: Path) -> tuple[Path, Path]:
    return place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")
