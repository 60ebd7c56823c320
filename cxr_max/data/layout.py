"""How a release folder is laid out: file names, shards, row groups.

    manifest.json  README.md  croissant.json  CHANGELOG.md
    <table>/<split>-00000-of-00003.parquet      split in the Hub's spelling (train, validation, test)
    restricted/provenance.parquet  restricted/rejected.jsonl      never published, outside of every hash

A shard holds a range of instances in id order, the same range in every table, so that tables are joined, compared
and checked shard by shard in bounded memory. Inside a shard the rows come in blocks of instances; a block has one
row group per teacher, sorted by key. One teacher is thus read from a seventh of the row groups, one instance from
seven of them, and streaming meets all teachers side by side.
"""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxr_max.errors import DataError
from cxr_max.schema import TABLES

MANIFEST, CARD, CROISSANT, CHANGELOG = "manifest.json", "README.md", "croissant.json", "CHANGELOG.md"
DOCUMENTS: tuple[str, ...] = (CARD, CROISSANT, CHANGELOG)
RESTRICTED = "restricted"
PROVENANCE = f"{RESTRICTED}/provenance.parquet"
REJECTED = f"{RESTRICTED}/rejected.jsonl"
UNLISTED: tuple[str, ...] = (MANIFEST, "RESTRICTED.md", ".gitignore", ".gitattributes")
"""Files of a release folder that the manifest does not list; all under `restricted/` come in addition."""

INSTANCES_PER_SHARD = 8_192
INSTANCES_PER_BLOCK = 512
PARQUET_KEY = b"cxr_max"

_SHARD = re.compile(r"(?P<table>[a-z_]+)/(?P<split>train|validation|test)-(?P<i>\d{5})-of-(?P<n>\d{5})\.parquet")


class Shard(NamedTuple):
    """A Parquet file of a release by its name: table, split (Hub's spelling), number from 0, and total."""

    table: str
    split: str
    number: int
    total: int

    @property
    def path(self) -> str:
        """Path inside the release, with forward slashes."""
        return f"{self.table}/{self.split}-{self.number:05d}-of-{self.total:05d}.parquet"


def parse_shard(path: str) -> Shard | None:
    """The shard a path inside a release names, or None when it is not a shard of a known table."""
    found = _SHARD.fullmatch(path)
    if found is None or found["table"] not in TABLES:
        return None
    return Shard(found["table"], found["split"], int(found["i"]), int(found["n"]))


def safe_path(root: Path, name: str) -> Path:
    """A file a manifest names, as a path under `root`.

    Raises:
        DataError: the name is absolute, climbs out of the release, or passes a symbolic link.
    """
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name or ":" in name:
        raise DataError(f"the manifest names {name[:200]!r}, which is no path inside the release")
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise DataError(f"{name[:200]!r} is, or lies behind, a symbolic link; a release holds plain files only")
    return path
