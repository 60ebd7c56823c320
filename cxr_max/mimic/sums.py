"""`SHA256SUMS.txt` of PhysioNet: a hash, one or two spaces, an optional `*`, a path relative to the file's folder."""

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from cxr_max.progress import track

_LINE = re.compile(rb"([0-9a-fA-F]{64}) {1,2}\*?(?:\./)?(.+?)\r?\n?")


def read(paths: Iterable[Path], wanted: Collection[str]) -> dict[str, str]:
    """Expected hashes of some files.

    Args:
        paths: `SHA256SUMS.txt` files; the first that lists a file wins.
        wanted: paths below `files/` (`p10/p10000032/s50414267.txt`) or names of tables and zips.

    Returns:
        wanted path -> hash in lower case; a path that no file lists is left out, a malformed line is passed over.
    """
    names = {name.encode() for name in wanted}
    found: dict[str, str] = {}
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                match = _LINE.fullmatch(line)
                if match and (name := match[2].removeprefix(b"files/")) in names:
                    found.setdefault(name.decode(), match[1].decode().lower())
    return found


def digest(path: Path | str) -> str:
    """SHA-256 of a file, hex.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(expected: dict[str, str], places: dict[str, str]) -> dict[str, str]:
    """Hash files and compare.

    Args:
        expected: key -> hash, from `read`.
        places: key -> file.

    Returns:
        key -> `ok`, `mismatch`, `unlisted` (no hash is known) or `unreadable`.
    """
    return {
        key: _compare(expected.get(key), place) for key, place in track(places.items(), "hashing", total=len(places))
    }


def _compare(expected: str | None, place: str) -> str:
    if expected is None:
        return "unlisted"
    try:
        return "ok" if digest(place) == expected else "mismatch"
    except OSError:
        return "unreadable"
