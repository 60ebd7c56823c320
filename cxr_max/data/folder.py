"""The folder of a release as its manifest describes it: tables, files, lazy scans."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max.data import layout, manifest
from cxr_max.errors import MissingFileError
from cxr_max.schema import HF_SPLITS, TABLES, Table, canonical_split


class ReleaseFolder:
    """One release on disk, as it says of itself; nothing is checked but the form of the manifest.

    Attributes:
        path: its folder.
        manifest: the content of `manifest.json`.
    """

    def __init__(self, path: Path, entries: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.manifest: Mapping[str, Any] = manifest.read(path) if entries is None else entries

    def __repr__(self) -> str:
        short = self.manifest["release_hash"][:12]
        return f"{type(self).__name__}({str(self.path)!r}, version={self.version!r}, hash={short!r})"

    @property
    def version(self) -> str:
        """Semantic version of the data."""
        return str(self.manifest["version"])

    @property
    def synthetic(self) -> bool:
        """Whether all rows come from the simulator."""
        return bool(self.manifest["synthetic"])

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of its tables, in the order of the schema."""
        return tuple(n for n in TABLES if n in self.manifest["tables"])

    def table(self, name: str) -> Table:
        """A table's columns as this release holds them.

        Raises:
            UnknownNameError: it holds no such table.
        """
        return manifest.table_of(self.manifest, name)

    def files(self, name: str, split: str | None = None) -> list[Path]:
        """Parquet files of a table, of one split (any spelling) or all, in the order of shards.

        Raises:
            UnknownNameError: no such table or split.
            DataError: the manifest names a path outside the release, or a link.
        """
        self.table(name)
        wanted = HF_SPLITS.values() if split is None else (HF_SPLITS[canonical_split(split)],)
        shards = [s for p in self.manifest["files"] if (s := layout.parse_shard(p)) is not None and s.table == name]
        order = list(HF_SPLITS.values())
        chosen = sorted((s for s in shards if s.split in wanted), key=lambda s: (order.index(s.split), s.number))
        return [layout.safe_path(self.path, s.path) for s in chosen]

    def scan(self, table: str) -> pl.LazyFrame:
        """A table, lazily; with the columns and types of the schema also when it is empty.

        Raises:
            UnknownNameError: no such table.
            MissingFileError: one of its files is gone.
        """
        files = self.files(table)
        missing = [f for f in files if not f.is_file()]
        if missing:
            raise MissingFileError(
                f"{len(missing)} of {len(files)} files of {table} are missing", next=f"cxr-max verify {self.path}"
            )
        schema = self.table(table).polars()
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(files, glob=False, schema=schema)
