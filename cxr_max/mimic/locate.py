"""Where the images of a release lie: in trees of JPGs or DICOMs, or in flat folders of `<dicom_id>.jpg`."""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import polars as pl

from cxr_max.errors import UsageError
from cxr_max.mimic.layout import SUFFIXES, MimicRoot

Prefer = Literal["jpg", "dicom"]

_FLAT_KINDS = {".jpg": "jpg", ".jpeg": "jpg", ".png": "jpg", ".dcm": "dicom"}


def images(root: MimicRoot, wanted: pl.DataFrame, *, prefer: Prefer = "jpg") -> pl.DataFrame:
    """Look for images on disk.

    Args:
        root: an open root.
        wanted: dicom_id, subject_id, study_id; a null dicom_id is nowhere.
        prefer: which to take where an image is there as both.

    Returns:
        `wanted` with `path` (absolute; null when it is nowhere) and `kind` (jpg or dicom; jpg also names PNGs that
        were made from them).

    Raises:
        UsageError: `prefer` is neither.
    """
    if prefer not in SUFFIXES:
        raise UsageError(f"prefer is {prefer!r}; allowed: {', '.join(SUFFIXES)}")
    found: list[str | None] = [None] * wanted.height
    kinds: list[str | None] = [None] * wanted.height
    for kind in (prefer, *(k for k in SUFFIXES if k != prefer)):
        if all(found):
            break
        for look in (*_trees(root, wanted, kind), *_flats(root, wanted, kind)):
            for i, path in look(i for i, p in enumerate(found) if p is None):
                found[i], kinds[i] = path, kind
    return wanted.with_columns(pl.Series("path", found, pl.String), pl.Series("kind", kinds, pl.String))


Look = Callable[[Iterable[int]], Iterable[tuple[int, str]]]


def _trees(root: MimicRoot, wanted: pl.DataFrame, kind: str) -> list[Look]:
    trees = root.layout.trees
    if len(trees) > 1:
        # Where a look at some patients found this kind comes first; the others still get their turn.
        trees = sorted(trees, key=lambda tree: tree not in root.layout.kinds[kind])
    if not trees:
        return []
    subject = pl.col("subject_id").cast(pl.String)
    name = pl.format(
        "/p{}/p{}/s{}/{}" + SUFFIXES[kind], subject.str.slice(0, 2), subject, pl.col("study_id"), pl.col("dicom_id")
    )
    names: list[str | None] = wanted.select(name.alias("name"))["name"].to_list()

    def look(tree: Path, open_: Iterable[int]) -> Iterable[tuple[int, str]]:
        top, access, f_ok = str(tree), os.access, os.F_OK
        for i in open_:
            name = names[i]
            try:
                if name is not None and access(path := top + name, f_ok):
                    yield i, path
            except ValueError:
                # A NUL in an id: no file has such a name.
                continue

    return [lambda open_, tree=tree: look(tree, open_) for tree in trees]  # type: ignore[misc]


def _flats(root: MimicRoot, wanted: pl.DataFrame, kind: str) -> list[Look]:
    ids: list[str | None] = wanted["dicom_id"].to_list()

    def look(flat: Path, open_: Iterable[int]) -> Iterable[tuple[int, str]]:
        index = _flat_index(str(flat), flat.stat().st_mtime_ns)[kind]
        for i in open_:
            dicom_id = ids[i]
            if dicom_id is not None and dicom_id in index:
                yield i, os.path.join(flat, index[dicom_id])

    return [lambda open_, flat=flat: look(flat, open_) for flat in root.layout.flats]  # type: ignore[misc]


@cache
def _flat_index(folder: str, mtime_ns: int) -> dict[str, dict[str, str]]:
    """Kind -> dicom_id -> file name; `mtime_ns` tells a folder that gained or lost files."""
    index: dict[str, dict[str, str]] = {kind: {} for kind in SUFFIXES}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        kind = _FLAT_KINDS.get(suffix.lower())
        if kind:
            index[kind].setdefault(stem.lower(), name)
    return index
