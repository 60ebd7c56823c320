"""Check a release against itself: bytes, counts, content, keys, references, values. Problems are listed, not raised.

Works shard by shard, so that memory is bounded by one shard of every table. A row is named by its file and its row
number there, never by its id.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max.data import layout, manifest
from cxr_max.data.content import Hasher, schema_hash
from cxr_max.data.contracts import check_rows
from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.writing import file_entry
from cxr_max.errors import DataError
from cxr_max.schema import HF_SPLITS, TABLES, Table

_MAX_PROBLEMS = 100
"""Problems of one kind that are listed; further ones are counted."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        where: file, file and row, or field of the manifest.
        what: what was expected and what is there.
    """

    where: str
    what: str


@dataclass
class Verification:
    """The outcome: problems found, and what was looked at.

    Attributes:
        path: the release folder.
        problems: empty when the release is sound.
        checked: counts of files, rows and bytes that were read.
    """

    path: Path
    problems: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=lambda: {"files": 0, "rows": 0, "bytes": 0})

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def add(self, where: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(where, what))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, "checked": self.checked, "problems": [p._asdict() for p in self.problems]}


def verify(path: Path) -> Verification:
    """Check everything that can be checked without other data.

    Raises:
        MissingFileError: there is no release at this place.
    """
    result = Verification(path)
    try:
        entries = manifest.read(path)
    except DataError as e:
        result.add(layout.MANIFEST, e.problem)
        return result
    if manifest.self_hash(entries) != entries[manifest.SELF]:
        result.add(layout.MANIFEST, "was edited: it does not fit its own hash")
    if manifest.release_hash(entries["tables"]) != entries["release_hash"]:
        result.add(layout.MANIFEST, "release_hash does not fit the hashes of the tables")
    sound = _files(path, entries, result)
    release = ReleaseFolder(path, entries)
    _tables(release, sound, result)
    return result


def _files(path: Path, entries: manifest.Manifest, result: Verification) -> set[str]:
    """Check bytes of every listed file and look for files that are not listed; returns the shards that can be read."""
    sound = set()
    for name, entry in entries["files"].items():
        file = layout.safe_path(path, name)
        if not file.is_file():
            result.add(name, "is missing")
            continue
        found = file_entry(file)
        result.checked["files"] += 1
        result.checked["bytes"] += found["bytes"]
        if found["bytes"] != entry["bytes"]:
            result.add(name, f"has {found['bytes']:,} bytes, the manifest says {entry['bytes']:,}")
        elif found["sha256"] != entry["sha256"]:
            result.add(name, "its bytes do not fit the SHA-256 of the manifest")
        if layout.parse_shard(name):
            sound.add(name)
        elif name.endswith(".parquet"):
            result.add(name, "is no shard of a known table")
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        # The Hub's client keeps notes of its own in `.cache` of a folder it downloads to.
        hidden = name in layout.UNLISTED or name.split("/")[0] in (layout.RESTRICTED, ".cache")
        if file.is_symlink():
            result.add(name, "is a symbolic link; a release holds plain files only")
        elif file.is_file() and name not in entries["files"] and not hidden:
            result.add(name, "is not in the manifest")
    return sound


def _tables(release: ReleaseFolder, sound: set[str], result: Verification) -> None:
    known = [n for n in release.manifest["tables"] if n in TABLES and TABLES[n].released]
    for name in set(release.manifest["tables"]) - set(known):
        result.add(layout.MANIFEST, f"names the table {name[:100]!r}, which no release holds")
    hashers = {n: Hasher(release.table(n)) for n in known}
    shards = [s for p in sorted(sound) if (s := layout.parse_shard(p)) is not None]
    for shard in shards:
        if shard.table not in known:
            result.add(shard.path, "belongs to a table that the manifest does not name")
    _check_numbering(shards, result)
    places = sorted({(list(HF_SPLITS.values()).index(s.split), s.split, s.number, s.total) for s in shards})
    patients: dict[int, str] = {}
    broken: set[str] = set()
    for _, split, number, total in places:
        here = {n: layout.Shard(n, split, number, total).path for n in known}
        frames: dict[str, pl.DataFrame] = {}
        for name, path in here.items():
            if path in sound:
                frame = _load(release, path, release.table(name), result)
                broken |= {name} if frame is None else set()
                frames |= {name: frame} if frame is not None else {}
        result.checked["rows"] += sum(f.height for f in frames.values())
        for name, frame in frames.items():
            try:
                hashers[name].update(frame)
            except (DataError, pl.exceptions.PolarsError) as e:
                result.add(here[name], str(e).splitlines()[0])
                broken.add(name)
        _add(result, check_rows(frames, here, release))
        _check_patients(frames, split, patients, here, result)
    for name in known:
        _check_entry(release, name, hashers[name], broken, result)


def _load(release: ReleaseFolder, path: str, table: Table, result: Verification) -> pl.DataFrame | None:
    """A shard as a frame of the declared schema, or None with the problem noted."""
    try:
        file = pq.ParquetFile(release.path / path)
        # Metadata of an Arrow schema, or other nullability, are no part of the contract; names and types are.
        found = [(f.name, f.type) for f in file.schema_arrow]
        wanted = [(f.name, f.type) for f in table.arrow()]
        if found != wanted:
            names = sorted({n for n, _ in set(map(_text, found)) ^ set(map(_text, wanted))})
            result.add(path, f"its columns differ from the schema: {', '.join(names) or 'their order'}")
            return None
        if b"huggingface" in (file.metadata.metadata or {}):
            result.add(path, "its metadata hold the key `huggingface`, which datasets < 4 cannot parse")
        frame = pl.DataFrame(pl.from_arrow(file.read()))
    except (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as e:
        result.add(path, f"cannot be read as Parquet: {type(e).__name__}")
        return None
    stated = release.manifest["files"][path]["rows"]
    if frame.height != stated:
        result.add(path, f"has {frame.height:,} rows, the manifest says {stated}")
    return frame


def _text(field: tuple[str, Any]) -> tuple[str, str]:
    return field[0], str(field[1])


def _check_numbering(shards: list[layout.Shard], result: Verification) -> None:
    totals: dict[str, set[int]] = {}
    for shard in shards:
        totals.setdefault(shard.split, set()).add(shard.total)
    for split, found in totals.items():
        if len(found) > 1:
            result.add(layout.MANIFEST, f"its shards of {split} state different totals: {sorted(found)}")
    for shard in shards:
        if shard.number >= shard.total:
            result.add(shard.path, "its number is beyond the total it states")


def _check_patients(
    frames: dict[str, pl.DataFrame], split: str, patients: dict[int, str], here: dict[str, str], result: Verification
) -> None:
    if "instances" not in frames:
        return
    both = 0
    for subject in frames["instances"]["subject_id"].unique().to_list():
        both += patients.setdefault(subject, split) != split
    if both:
        result.add(here["instances"], f"{both:,} of its patients are in another split, too")


def _check_entry(release: ReleaseFolder, name: str, hasher: Hasher, broken: set[str], result: Verification) -> None:
    entry = release.manifest["tables"][name]
    where = f"{layout.MANIFEST}: table {name}"
    if entry["schema_hash"] != schema_hash(release.table(name)):
        result.add(where, "its schema_hash is not that of the schema this version of cxr-max knows")
    if hasher.rows != entry["rows"]:
        result.add(where, f"states {entry['rows']} rows, its files hold {hasher.rows:,}")
    if name not in broken and hasher.hexdigest() != entry["content_hash"]:
        result.add(where, "its content_hash does not fit the rows of its files")


def _add(result: Verification, problems: Iterator[tuple[str, str, list[int]]]) -> None:
    """Note rows that break a contract: file, what, and the first row numbers."""
    for path, what, rows in problems:
        for row in rows[:_MAX_PROBLEMS]:
            result.add(f"{path} row {row}", what)
        if len(rows) > _MAX_PROBLEMS:
            result.add(path, f"{what} ({len(rows) - math.floor(_MAX_PROBLEMS):,} more rows)")
