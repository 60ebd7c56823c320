"""Finds MIMIC-CXR content where it may not lie: report text, image bytes, label vectors, derived tables.

By data class (`cxr_max.schema`):
    source  is an error outside of its root, `$CXR_MAX_CACHE`, a folder of `mimic join --out`, and `restricted/`;
    derived is an error outside of a credentialed folder (mode 0700 with RESTRICTED.md, in no git work tree);
    index   passes.

The comparison with the root's reports, images and labels never looks at the synthetic mark: a wrong mark hides nothing.
Only the rule for derived *columns* does, since it asks which data a table is about, and synthetic data are free
(`CXR_MAX_TREAT_AS_REAL=1` takes that away). Results name places, never content.

What the scan does not see: images that were decoded and encoded anew; passages cut into rows of fewer than 12 words;
label rows in HTML or without the study's id; text of PDF files that is not in one piece; encrypted archives; reports as
token ids. In unknown binary formats the first and last word of a passage can be lost to bytes that touch them.
What could not be opened is listed in `GuardReport.closed`.
"""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_max.errors import MissingFileError, UsageError
from cxr_max.folders import TRAINING, cache_path, git_tree
from cxr_max.mimic.layout import MimicRoot, open_root
from cxr_max.mimic.leaks.formats import open_file
from cxr_max.mimic.leaks.marks import is_synthetic
from cxr_max.mimic.leaks.originals import Originals
from cxr_max.mimic.leaks.scan import DERIVED, Leak, Scanner, Tally
from cxr_max.progress import track

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".distcp")
NOTICE_NAME = "RESTRICTED.md"
JOINED_NAME = "coverage.parquet"
"""Stands in every folder that `mimic join --out` writes."""


@dataclass(frozen=True)
class GuardReport:
    """What a scan found.

    Attributes:
        path: the file or folder scanned.
        compared: what the root offered: reports, patients, images, labels (counts; 0 where it has none).
        files, bytes, words, pictures, tables: how much was looked at.
        leaks: places where something lies that may not; at most 10,000 of them are listed.
        found: number of all leaks, by kind.
        allowed: the same for places where it may lie.
        stock: stock phrases (12 to 29 words of more than 2 patients' reports), no leaks.
        closed: (where, reason) of what could not be looked into.
        seconds: wall time.
    """

    path: Path
    compared: dict[str, int]
    files: int
    bytes: int
    words: int
    pictures: int
    tables: int
    leaks: tuple[Leak, ...]
    found: dict[str, int]
    allowed: dict[str, int]
    stock: int
    closed: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing lies where it may not."""
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; paths as strings."""
        return {
            "path": str(self.path),
            "ok": self.ok,
            "compared": self.compared,
            "looked_at": {
                "files": self.files,
                "bytes": self.bytes,
                "words": self.words,
                "pictures": self.pictures,
                "tables": self.tables,
            },
            "found": self.found,
            "leaks": [vars(leak) for leak in self.leaks],
            "allowed_here": self.allowed,
            "stock_phrases": self.stock,
            "not_looked_into": [{"where": where, "reason": reason} for where, reason in self.closed],
            "seconds": round(self.seconds, 2),
        }


def guard(path: Path | str, root: MimicRoot | None = None) -> GuardReport:
    """Scan a file or folder for content of a root.

    The first scan of a root indexes its reports (some minutes for all of MIMIC-CXR); the index stays in the cache.

    Args:
        path: what to scan: a release, an HTML file, a log, a checkpoint, a folder of all of them.
        root: from `open_root`; the configured roots when None.

    Raises:
        MissingFileError: nothing at `path`, or no root.
        UsageError: the root has neither reports nor images nor labels to compare with.
    """
    start = time.perf_counter()
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"nothing at {path}")
    root = open_root() if root is None else root
    originals = Originals(root)
    index = originals.phrases if root.has("reports") else None
    compared = {
        "reports": index.n_reports if index else 0,
        "patients": index.n_patients if index else 0,
        "labels": originals.labels.height,
        "dicom_ids": len(originals.dicom_ids),
    }
    if not any(compared.values()):
        raise UsageError("this root has no reports, images or labels to compare with", next="cxr-max mimic check")
    places = Places(root)
    tallies = {True: Tally(), False: Tally()}
    files = n_bytes = 0
    for file, size in track(list(_files(path)), "files"):
        files, n_bytes = files + 1, n_bytes + size
        scanner = Scanner(originals, index)
        if path.is_dir() and not stat.S_ISREG(file.lstat().st_mode):
            scanner.closed(str(file), "is a link, pipe or device, which is not followed")
        else:
            open_file(file, str(file), scanner)
            _weights(file, scanner.tally)
        _sort(scanner.finish(), file, places, tallies)
    bad, good = tallies[False], tallies[True]
    return GuardReport(
        path=path,
        compared=compared,
        files=files,
        bytes=n_bytes,
        words=bad.words,
        pictures=bad.pictures,
        tables=bad.tables,
        leaks=tuple(bad.leaks),
        found=dict(bad.found),
        allowed=dict(good.found),
        stock=bad.stock,
        closed=tuple(bad.closed),
        seconds=time.perf_counter() - start,
    )


def _weights(file: Path, tally: Tally) -> None:
    """Weights beside a `training.json` are of class derived, whatever their bytes look like."""
    if file.suffix in WEIGHTS and (file.parent / TRAINING).is_file():
        tally.add(Leak(DERIVED, str(file), detail="weights of a model trained on the data"))


def _sort(seen: Tally, file: Path, places: "Places", tallies: dict[bool, Tally]) -> None:
    """Put a file's leaks where they belong: allowed at its place, or not."""
    total = tallies[False]
    total.stock, total.words = total.stock + seen.stock, total.words + seen.words
    total.pictures, total.tables = total.pictures + seen.pictures, total.tables + seen.tables
    total.closed.extend(seen.closed)
    source, derived = places.source(file), places.derived(file)
    for leak in seen.leaks:
        allowed = derived if leak.kind == DERIVED else source
        if leak.kind == DERIVED and not allowed and is_synthetic(file):
            continue
        tallies[allowed].add(leak)
    for kind, number in seen.found.items():
        more = number - sum(leak.kind == kind for leak in seen.leaks)
        allowed = derived if kind == DERIVED else source
        if more:
            tallies[allowed].found[kind] = tallies[allowed].found.get(kind, 0) + more


class Places:
    """Where content of a class may lie.

    Args:
        root: the open root; its own folders and files are allowed.
    """

    def __init__(self, root: MimicRoot) -> None:
        # Not the folder the user named, which may be a parent of much else.
        self._free = [*(p.resolve() for p in root.layout.places()), cache_path().resolve()]

    def source(self, path: Path) -> bool:
        """Whether content of class source may lie at this path."""
        whole = path.resolve()
        if any(whole.is_relative_to(free) for free in self._free):
            return True
        for folder in whole.parents:
            if private(folder) and (folder.name == "restricted" or (folder / JOINED_NAME).is_file()):
                return git_tree(folder) is None
        return False

    def derived(self, path: Path) -> bool:
        """Whether content of class derived may lie at this path: as for source, or in a credentialed folder."""
        if self.source(path):
            return True
        folder = next((f for f in path.resolve().parents if private(f)), None)
        return folder is not None and git_tree(folder) is None


def private(folder: Path) -> bool:
    """Whether a folder is credentialed: only its owner can open it, and RESTRICTED.md says what it is."""
    try:
        return not folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and (folder / NOTICE_NAME).is_file()
    except OSError:
        return False


def _files(path: Path) -> Iterator[tuple[Path, int]]:
    """Files below a path, or the file itself."""
    if not path.is_dir():
        yield path, path.stat().st_size
        return
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            file = Path(folder) / name
            yield file, file.lstat().st_size
