"""Tables -> Parquet shards: the layout of `layout.py`, content hashes on the way, every file flushed to disk."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max.data import layout
from cxr_max.data.content import Hasher, in_key_order, schema_hash
from cxr_max.errors import DataError
from cxr_max.schema import HF_SPLITS, Table

_TEXTS = frozenset({"trajectory", "prompt", "chosen", "rejected", "text_sha256"})
_STATISTICS = frozenset({"instance_id", "teacher", "generation", "subject_id", "study_id", "split", "strategy", "view"})


def parquet_metadata(table: Table, *, synthetic: bool) -> dict[bytes, bytes]:
    """Key-value metadata of every shard; no `huggingface` key, which `datasets` before 4 cannot parse."""
    return {layout.PARQUET_KEY: json.dumps({"table": table.name, "synthetic": synthetic}).encode()}


def to_arrow(frame: pl.DataFrame, table: Table) -> Any:
    """The rows as an Arrow table of exactly the declared schema.

    Raises:
        DataError: a column that allows no null holds one.
    """
    for column in table.columns:
        if not column.nullable and frame.get_column(column.name).null_count():
            raise DataError(f"{table.name}.{column.name} holds nulls and may not")
    schema = table.arrow()
    found = frame.select(table.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    arrays = [pa.chunked_array(found[f.name]).cast(f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


class ShardWriter:
    """One Parquet file, written block by block."""

    def __init__(self, path: Path, table: Table, *, synthetic: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.table, self.rows = path, table, 0
        self._order = [c for c in ("teacher", *table.keys) if c in table.names]
        self._order = list(dict.fromkeys(self._order))
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file,
            table.arrow(),
            compression="zstd",
            compression_level=3,
            use_dictionary=[n for n in table.names if n not in _TEXTS],
            # Bounds of a text would put pieces of it into the footer.
            write_statistics=[n for n in table.names if n in _STATISTICS],
            store_schema=False,
            sorting_columns=[pq.SortingColumn(table.names.index(n)) for n in self._order],
        )
        self._writer.add_key_value_metadata(parquet_metadata(table, synthetic=synthetic))

    def write(self, block: pl.DataFrame) -> None:
        """Append a block of instances: one row group per teacher, or one where the table has no teacher."""
        block = block.select(self.table.names)
        parts = block.partition_by("teacher") if "teacher" in self.table.names else [block]
        for part in sorted(parts, key=lambda p: str(p["teacher"][0]) if "teacher" in p.columns and p.height else ""):
            if part.height:
                part = part if in_key_order(part, self._order) else part.sort(self._order)
                arrow = to_arrow(part, self.table)
                self._writer.write_table(arrow, row_group_size=part.height)
        self.rows += block.height

    def close(self) -> None:
        """Write the footer and flush everything to disk."""
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abort(self) -> None:
        """Let go of the file without a footer; for a draft that is thrown away."""
        # What is left in buffers cannot be written when the disk is full, and need not be.
        self._writer.is_open = False
        with suppress(OSError):
            self._file.close()


class Block(NamedTuple):
    """A run of instances that is written at once: rows [start, stop) of the ordered instances.

    Attributes:
        split: in the Hub's spelling.
        number: of its shard, from 0.
        total: shards of the split.
        start: first row.
        stop: row after the last.
    """

    split: str
    number: int
    total: int
    start: int
    stop: int


def in_order(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Rows in the order of a release: by split, then by key."""
    return frame.sort(pl.col("split").cast(pl.Enum(list(HF_SPLITS))), *keys)


def plan(splits: pl.Series) -> list[Block]:
    """How instances, ordered as by `in_order`, are dealt out to shards and blocks.

    Args:
        splits: the split of each instance, MIMIC's spelling.
    """
    blocks, first = [], 0
    counts = dict(splits.value_counts().iter_rows())
    per_shard, per_block = layout.INSTANCES_PER_SHARD, layout.INSTANCES_PER_BLOCK
    for split, hub in HF_SPLITS.items():
        end = first + counts.get(split, 0)
        total = -(-(end - first) // per_shard)
        for number in range(total):
            start = first + number * per_shard
            stop = min(start + per_shard, end)
            blocks += [Block(hub, number, total, i, min(i + per_block, stop)) for i in range(start, stop, per_block)]
        first = end
    return blocks


class TableWriter:
    """Writes the tables of a release side by side, shard after shard, and keeps their manifest entries."""

    def __init__(self, folder: Path, tables: Sequence[Table], *, synthetic: bool) -> None:
        self.folder, self.tables, self.synthetic = folder, {t.name: t for t in tables}, synthetic
        self.files: dict[str, dict[str, Any]] = {}
        self._hashers = {name: Hasher(t) for name, t in self.tables.items()}
        self._splits: dict[str, dict[str, int]] = {name: {} for name in self.tables}
        self._open: dict[str, tuple[str, ShardWriter]] = {}
        self._at = ("", 0, 0)

    def shard(self, split: str, number: int, total: int) -> None:
        """Begin the next shard of every table."""
        self._close()
        self._at = (split, number, total)

    def write(self, blocks: Mapping[str, pl.DataFrame]) -> None:
        """Write one block of instances of every table; a table without a row in a shard gets no file there."""
        for name, block in blocks.items():
            if block.is_empty():
                continue
            if name not in self._open:
                shard = layout.Shard(name, *self._at)
                path = self.folder / shard.path
                self._open[name] = (shard.path, ShardWriter(path, self.tables[name], synthetic=self.synthetic))
            self._open[name][1].write(block)
            self._hashers[name].update(block)

    def close(self) -> dict[str, dict[str, Any]]:
        """Finish the last shard; returns the manifest's `tables`, while `files` holds its files."""
        self._close()
        return {
            name: {
                "rows": self._hashers[name].rows,
                "schema_hash": schema_hash(table),
                "content_hash": self._hashers[name].hexdigest(),
                "splits": self._splits[name],
            }
            for name, table in self.tables.items()
        }

    def abort(self) -> None:
        """Let go of open files after a failure."""
        for _, writer in self._open.values():
            writer.abort()
        self._open.clear()

    def _close(self) -> None:
        for path, writer in self._open.values():
            writer.close()
            self.files[path] = file_entry(writer.path, writer.rows)
            splits = self._splits[writer.table.name]
            splits[self._at[0]] = splits.get(self._at[0], 0) + writer.rows
        self._open.clear()


def file_entry(path: Path, rows: int | None = None) -> dict[str, Any]:
    """The manifest's entry of a file: rows (None for documents), bytes, sha256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"rows": rows, "bytes": path.stat().st_size, "sha256": digest}
