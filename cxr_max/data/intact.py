"""Whether the files of a release are still those its manifest lists; asked before every load, cheap the second time.

A file that was hashed once is remembered with its size and time of change in the cache; one that changed since is
hashed again. So a file exchanged in place, without a new manifest, is found on the next load and never read.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from cxr_max.data.layout import safe_path
from cxr_max.data.locate import Located
from cxr_max.errors import DataError, MissingFileError
from cxr_max.folders import cache_dir, private_dir, write_atomic

Stamp = list[int]
"""Device, inode, bytes, time of change and of modification in ns."""


def check(release: Located, names: Iterable[str]) -> list[Path]:
    """Compare files with the manifest.

    Args:
        release: where they lie.
        names: paths inside the release.

    Returns:
        Their paths.

    Raises:
        MissingFileError: one is gone.
        DataError: one has another length or SHA-256 than the manifest states.
    """
    note = private_dir(cache_dir() / "intact") / f"{_sha256(str(release.path).encode())[:32]}.json"
    known = _remembered(note, release)
    stamps: dict[str, Stamp] = {}
    paths = []
    for name in names:
        path = safe_path(release.path, name)
        stamps[name] = _stamp(path, release)
        if known.get(name) != stamps[name]:
            _compare(path, name, release)
        paths.append(path)
    if any(known.get(n) != s for n, s in stamps.items()):
        write_atomic(note, json.dumps({"manifest": release.sha256, "files": known | stamps}), mode=0o600)
    return paths


def _remembered(note: Path, release: Located) -> dict[str, Stamp]:
    try:
        kept = json.loads(note.read_bytes())
        return dict(kept["files"]) if kept["manifest"] == release.sha256 else {}
    except (OSError, ValueError, KeyError, TypeError):
        # A note that is gone or broken only means hashing once more.
        return {}


def _stamp(path: Path, release: Located) -> Stamp:
    try:
        s = path.stat()
    except OSError:
        raise MissingFileError(
            f"the manifest lists {path.relative_to(release.path)}, which is not in {release.path}",
            next=f"cxr-max verify {release.path}",
        ) from None
    return [s.st_dev, s.st_ino, s.st_size, s.st_ctime_ns, s.st_mtime_ns]


def _compare(path: Path, name: str, release: Located) -> None:
    listed = release.manifest["files"][name]
    if path.stat().st_size != listed.get("bytes"):
        problem = f"{name} has {os.path.getsize(path)} bytes, the manifest states {listed.get('bytes')}"
    else:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest == listed.get("sha256"):
            return
        problem = f"{name} is not the file the manifest lists: its SHA-256 differs"
    raise DataError(f"{problem} (release at {release.path})", next=f"cxr-max verify {release.path}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
