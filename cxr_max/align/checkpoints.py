"""A checkpoint counts only when its marker is there, and the marker is written last.

A kill while a checkpoint is written leaves a folder without a marker, or, after a power cut, one whose files are
shorter than the marker says; neither is ever resumed from. A checkpoint that goes loses its marker first.
"""

import json
import os
import re
import shutil
from pathlib import Path

from cxr_max.folders import fsync_dir, write_atomic

MARKER = "COMPLETE"
_NAME = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path) -> None:
    """Make every file of a folder its owner's alone, flush it to disk, then write the marker with their sizes."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MARKER:
            # A copy of the folder loses the folder's own mode; what was trained on restricted data stays private.
            path.chmod(0o600)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[str(path.relative_to(folder))] = path.stat().st_size
        elif path.is_dir():
            fsync_dir(path)
    fsync_dir(folder)
    write_atomic(folder / MARKER, json.dumps(sizes, indent=1, sort_keys=True))
    fsync_dir(folder)
    fsync_dir(folder.parent)


def is_whole(folder: Path) -> bool:
    """Whether the marker is there and every file it lists has its size."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def step_of(folder: Path) -> int:
    """The optimizer step a checkpoint folder is named after, -1 for other folders."""
    found = _NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1


def whole(out: Path) -> list[Path]:
    """Checkpoints that count, oldest first."""
    if not out.is_dir():
        return []
    return sorted((p for p in out.iterdir() if step_of(p) >= 0 and is_whole(p)), key=step_of)


def clean(out: Path) -> list[str]:
    """Remove what a kill left: checkpoints that do not count, and drafts of `final`.

    Returns:
        The names of the folders removed.
    """
    left = [p for p in out.iterdir() if step_of(p) >= 0 and not is_whole(p)] if out.is_dir() else []
    left += out.glob(".final.*.partial")
    for path in left:
        shutil.rmtree(path)
    return sorted(p.name for p in left)


def rotate(out: Path, keep: int) -> None:
    """Remove all but the newest checkpoints; only ever called behind `seal`."""
    for path in whole(out)[:-keep]:
        (path / MARKER).unlink()
        fsync_dir(path)
        shutil.rmtree(path)
