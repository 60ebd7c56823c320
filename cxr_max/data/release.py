"""Open a release: scan its tables, verify it, compare it."""

import os
from pathlib import Path

from cxr_max.data import diff as diffs
from cxr_max.data import layout, manifest, swap
from cxr_max.data import verify as checks
from cxr_max.data.folder import ReleaseFolder
from cxr_max.errors import CxrMaxError, MissingFileError


class Release(ReleaseFolder):
    """One release: `.version`, `.tables`, `.manifest`, `.scan(table)`, `.verify()`, `.diff(other)`."""

    def verify(self) -> checks.Verification:
        """Check every hash, count, key and contract; problems are listed, not raised."""
        return checks.verify(self.path)

    def diff(self, other: ReleaseFolder) -> diffs.Diff:
        """What `other`, the newer one, adds, removes and changes, row by row."""
        return diffs.diff(self, other)


def open_release(path: str | os.PathLike[str]) -> Release:
    """Open a release folder; a build that was killed while it exchanged two releases is finished or undone first.

    Raises:
        MissingFileError: no folder, or no manifest in it.
        DataError: the manifest is damaged, or of a later format.
    """
    place = Path(path).expanduser()
    swap.recover(place, is_complete)
    if not place.is_dir():
        raise MissingFileError(f"no release at {place}", next="cxr-max build RAW... --out DIR makes one")
    return Release(place)


def is_complete(place: Path) -> bool:
    """Whether every file the manifest lists is there at its size; quick, reads no content."""
    try:
        files = manifest.read(place)["files"]
        return all(layout.safe_path(place, n).stat().st_size == e["bytes"] for n, e in files.items())
    except (CxrMaxError, OSError):
        return False
