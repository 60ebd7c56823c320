"""What a root holds, in the form the scan compares with: phrases of its reports, bytes of its images, label rows.

All of it is of class source and stays in memory or in the private cache.
"""

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max.errors import DataError
from cxr_max.folders import cache_dir, sibling
from cxr_max.mimic import reports, tables
from cxr_max.mimic.layout import MimicRoot
from cxr_max.mimic.leaks import phrases
from cxr_max.mimic.leaks.formats import Data
from cxr_max.mimic.leaks.phrases import PhraseIndex
from cxr_max.progress import track
from cxr_max.schema import FINDINGS, LABELERS

DICOM_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{8}){4}(?![0-9a-f])")
_SUBJECT = re.compile(r"p\d{8}")
_STUDY = re.compile(r"s\d{8}\.txt")
_MEMBER = re.compile(r"(?:.*/)?p(\d{8})/s\d{8}\.txt")
_IMAGES = (".jpg", ".jpeg", ".png", ".dcm")


class Originals:
    """The root as the scan sees it; every part is read when it is first needed.

    Args:
        root: an open root.
    """

    def __init__(self, root: MimicRoot) -> None:
        self.root = root
        self._digests: dict[str, bytes] = {}

    @cached_property
    def phrases(self) -> PhraseIndex:
        """The phrases of all reports: from `$CXR_MAX_CACHE` when no report has changed, else built and put there."""
        files = list(_report_files(self.root))
        key = hashlib.sha256(f"{phrases.FORMAT}\n".encode())
        for place, stamp in files:
            key.update(f"{place.file}\0{place.member}\0{stamp}\n".encode())
        home = cache_dir() / "guard" / hashlib.sha256("\0".join(map(str, self.root.paths)).encode()).hexdigest()[:16]
        folder = home / key.hexdigest()[:32]
        if not folder.is_dir():
            built = phrases.build(_texts([place for place, _ in files]))
            with sibling(folder) as draft:
                built.save(draft)
                # Another process may have been faster; what it wrote is the same.
                if not folder.is_dir():
                    os.replace(draft, folder)
                else:
                    shutil.rmtree(draft)
            for old in home.iterdir():
                if old != folder and not old.name.startswith("."):
                    shutil.rmtree(old, ignore_errors=True)
        return PhraseIndex.load(folder)

    @cached_property
    def sizes(self) -> dict[int, list[str]]:
        """Size in bytes -> image files of the root of that size."""
        found: dict[int, list[str]] = {}
        for path, size in track(_image_files(self.root), "images of the root"):
            found.setdefault(size, []).append(path)
        return found

    @cached_property
    def dicom_ids(self) -> frozenset[str]:
        """All dicom_ids of the root, from its tables, else from the names of its images."""
        for name, table in (("metadata", self.root.metadata), ("split", self.root.splits)):
            if self.root.has(name):
                (found,) = tables.collect(table().select("dicom_id"))
                return frozenset(found.to_series())
        names = (Path(path).stem for paths in self.sizes.values() for path in paths)
        return frozenset(name for name in names if DICOM_ID.fullmatch(name))

    @cached_property
    def labels(self) -> pl.DataFrame:
        """Label rows of all labelers: study_id i64, labeler, the 14 columns i8 (2 = empty)."""
        frames = [
            self.root.labels(labeler).select(
                pl.col("study_id").cast(pl.Int64),
                pl.lit(labeler).alias("labeler"),
                *(pl.col(name).cast(pl.Int8).fill_null(2) for name in FINDINGS),
            )
            for labeler in LABELERS
            if self.root.has(labeler)
        ]
        if not frames:
            return pl.DataFrame(schema={"study_id": pl.Int64, "labeler": pl.String} | dict.fromkeys(FINDINGS, pl.Int8))
        return pl.concat(tables.collect(*frames))

    @cached_property
    def studies(self) -> pl.DataFrame:
        """dicom_id and study_id i64 of each image, from the tables; empty without them."""
        for name, table in (("metadata", self.root.metadata), ("split", self.root.splits)):
            if self.root.has(name):
                (found,) = tables.collect(table().select("dicom_id", pl.col("study_id").cast(pl.Int64)))
                return found
        return pl.DataFrame(schema={"dicom_id": pl.String, "study_id": pl.Int64})

    def has_image(self, data: Data) -> bool:
        """Whether an image file of the root has exactly these bytes."""
        candidates = self.sizes.get(len(data), ())
        if not candidates:
            return False
        digest = hashlib.sha256(data).digest()
        return any(self._digest(path) == digest for path in candidates)

    def _digest(self, path: str) -> bytes:
        if path not in self._digests:
            try:
                with open(path, "rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").digest()
            except OSError:
                self._digests[path] = b""
        return self._digests[path]


def _report_files(root: MimicRoot) -> Iterator[tuple[reports.Place, str]]:
    """Every report of the root, with what tells a changed one; a report in a tree hides its copy in a zip."""
    seen: set[str] = set()
    for tree in root.layout.trees:
        for group in _folders(tree):
            for subject in _folders(group):
                if not _SUBJECT.fullmatch(os.path.basename(subject)):
                    continue
                for entry in os.scandir(subject):
                    if _STUDY.fullmatch(entry.name):
                        state = entry.stat()
                        seen.add(entry.name)
                        yield reports.Place(entry.path), f"{state.st_size} {state.st_mtime_ns}"
    for archive in root.layout.zips:
        state = archive.stat()
        for member in _members(archive):
            if member.rpartition("/")[2] not in seen:
                short = "/".join(member.split("/")[-3:])
                place = reports.Place(str(archive), short, state.st_mtime_ns)
                yield place, f"{state.st_size} {state.st_mtime_ns}"


def _members(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return [name for name in opened.namelist() if _MEMBER.fullmatch(name)]
    except (OSError, zipfile.BadZipFile) as e:
        raise DataError(f"{archive} is not a readable zip: {type(e).__name__}", next="fetch it again") from e


def _texts(places: list[reports.Place]) -> Iterator[tuple[int, bytes]]:
    for place in track(places, "reports of the root"):
        text = reports.read(place)
        match = _MEMBER.fullmatch((place.member or place.file).replace(os.sep, "/"))
        if text and match:
            yield int(match[1]), text.encode("utf-8", errors="replace")


def _image_files(root: MimicRoot) -> Iterator[tuple[str, int]]:
    queue: list[Any] = [*root.layout.flats, *root.layout.trees]
    while queue:
        with os.scandir(queue.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    queue.append(entry.path)
                elif entry.name.lower().endswith(_IMAGES):
                    yield entry.path, entry.stat().st_size


def _folders(folder: Path | str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from sorted(e.path for e in entries if e.is_dir())
