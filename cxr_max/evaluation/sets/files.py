"""Finding files of a set under its roots, and reading CSV by header."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError, MissingFileError
from cxr_max.schema import check_columns

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")


def find(name: str, places: Sequence[Path], pattern: str) -> Path:
    """The first file below the places whose name matches.

    Args:
        name: root name, for the message.
        places: folders, searched in order, shallow files first.
        pattern: regular expression for the whole file name, letter case ignored.

    Raises:
        MissingFileError: no root is given or no such file lies there.
    """
    wanted = re.compile(pattern, re.IGNORECASE)
    for place in places:
        found = sorted((p for p in place.rglob("*") if wanted.fullmatch(p.name)), key=lambda p: (len(p.parts), str(p)))
        if found:
            return found[0]
    where = ", ".join(map(str, places)) or "no folder (none is set)"
    readable = pattern.replace("\\", "")
    raise MissingFileError(
        f"{readable} of {name} was looked for in {where}", next=f"cxr-max roots set {name} PATH, or --root {name}=PATH"
    )


def images(places: Sequence[Path], *, parts: int = 1) -> dict[str, Path]:
    """All image files below the places by the last `parts` parts of their path; the first of a name counts."""
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                found.setdefault("/".join(path.parts[-parts:]), path)
    return found


def read_csv(path: Path, needed: Iterable[str]) -> pl.DataFrame:
    """All columns of a CSV (also gzipped) as text; empty = null.

    Raises:
        DataError: not readable, or a needed column is missing; names the file and the column.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path.name} cannot be read as CSV ({type(e).__name__})", next="fetch the file again") from e
    missing = check_columns(frame.columns, needed)
    if missing:
        raise DataError(f"{path.name} has no column {missing[0]!r}; it has: {', '.join(frame.columns)}")
    return frame
