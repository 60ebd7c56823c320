"""Hashes of what a table says, whatever its files look like.

`content_hash` depends neither on the order of rows, nor on shards, row groups or compression, nor on the order, names
or number of the raw files. Rows are grouped by their first key column (instance_id); a group's digest is the SHA-256
of its rows sorted by key, in a canonical column-wise encoding; the table's hash is the SHA-256 of all (id, digest)
pairs sorted by id. A collision is a collision of SHA-256.

Canonical encoding of a column over n rows: n bytes of validity (1 = value), then
    bool: n bytes; numbers: n little-endian values, 0 where null, every NaN the same; strings: n byte lengths (u64),
    then the UTF-8 bytes; lists: n lengths (u64), then the encoding of all items; structs: the encoding of each field.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cxr_max.errors import DataError
from cxr_max.schema import ListOf, StructOf, Table

Spans = npt.NDArray[np.int64]
Buffer = npt.NDArray[np.uint8]


class Hasher:
    """Takes a table in pieces, none of which shares an instance with another, and gives its content hash."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows = 0
        self._digests: dict[str, bytes] = {}

    def update(self, frame: pl.DataFrame) -> None:
        """Add rows, in any order.

        Raises:
            DataError: an instance also occurred in an earlier piece.
        """
        if frame.is_empty():
            return
        frame = frame.select(self.table.names)
        if not in_key_order(frame, self.table.keys):
            frame = frame.sort(self.table.keys)
        ids = frame.get_column(self.table.keys[0])
        starts = np.flatnonzero(np.append(True, (ids != ids.shift(1)).to_numpy()[1:]))
        names = ids.gather(pl.Series(starts)).to_list()
        if not self._digests.keys().isdisjoint(names):
            raise DataError(f"rows of one instance of {self.table.name} lie in more than one shard")
        for name, digest in zip(names, _digests(frame, starts), strict=True):
            self._digests[name] = digest
        self.rows += len(frame)

    def hexdigest(self) -> str:
        """The content hash of everything added so far, 64 hex digits."""
        whole = hashlib.sha256(schema_hash(self.table).encode())
        for name in sorted(self._digests):
            whole.update(hashlib.sha256(name.encode()).digest())
            whole.update(self._digests[name])
        return whole.hexdigest()


def in_key_order(frame: pl.DataFrame, keys: Sequence[str]) -> bool:
    """Whether rows are sorted by key, found without sorting."""
    equal, after = pl.lit(True), pl.lit(False)
    for key in keys:
        after |= equal & (pl.col(key) < pl.col(key).shift(1))
        equal &= pl.col(key) == pl.col(key).shift(1)
    return not frame.select(after.any()).item()


def content_hash(frame: pl.DataFrame, table: Table) -> str:
    """The content hash of a table that fits in memory."""
    hasher = Hasher(table)
    hasher.update(frame)
    return hasher.hexdigest()


def schema_hash(table: Table) -> str:
    """SHA-256 over the table's name and its columns: name, dtype, key, nullability, in order."""
    columns = [[c.name, _describe(c.dtype), c.key, c.nullable] for c in table.columns]
    return hashlib.sha256(json.dumps([table.name, columns]).encode()).hexdigest()


def _describe(dtype: object) -> object:
    if isinstance(dtype, ListOf):
        return ["list", _describe(dtype.item)]
    if isinstance(dtype, StructOf):
        return ["struct", [[name, _describe(inner)] for name, inner in dtype.fields]]
    return str(dtype)


def _digests(frame: pl.DataFrame, starts: Spans) -> Iterator[bytes]:
    bounds = np.append(starts, len(frame)).astype(np.int64)
    parts: list[tuple[memoryview, list[int]]] = []
    for column in frame.get_columns():
        # pyarrow hands out strings of Polars' view type; the offsets-and-bytes form is what is hashed.
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        parts += _encode(array, bounds)
    for i in range(len(starts)):
        digest = hashlib.sha256()
        for view, offsets in parts:
            digest.update(view[offsets[i] : offsets[i + 1]])
        yield digest.digest()


def _encode(array: Any, bounds: Spans) -> Iterator[tuple[memoryview, list[int]]]:
    """The canonical encoding as byte views, each with the byte offsets that cut it at `bounds` (row numbers)."""
    valid = np.ones(len(array), np.uint8) if array.null_count == 0 else _bytes(pc.is_valid(array))
    yield _view(valid), bounds.tolist()
    kind = array.type
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        array = array.fill_null("") if array.null_count else array
        offsets = _offsets(array)
        yield _view(np.diff(offsets).astype("<u8")), (bounds * 8).tolist()
        yield memoryview(array.buffers()[2] or b""), offsets[bounds].tolist()
    elif pa.types.is_large_list(kind) or pa.types.is_list(kind):
        offsets = _offsets(array)
        if array.null_count and np.diff(offsets)[valid == 0].any():
            # A null may hide items; a gather drops them.
            array = array.take(pa.array(np.arange(len(array))))
            offsets = _offsets(array)
        yield _view(np.diff(offsets).astype("<u8")), (bounds * 8).tolist()
        yield from _encode(array.values, offsets[bounds])
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _encode(field, bounds)
    elif pa.types.is_boolean(kind):
        yield _view(_bytes(array.fill_null(False))), bounds.tolist()
    else:
        filled = array.fill_null(0) if array.null_count else array
        values = filled.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.asarray(np.nan, values.dtype), values)
        values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
        yield _view(values), (bounds * values.dtype.itemsize).tolist()


def _offsets(array: Any) -> Spans:
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_list(array.type)
    raw = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
    return raw[array.offset : array.offset + len(array) + 1].astype(np.int64)


def _bytes(array: Any) -> Buffer:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.uint8)


def _view(values: npt.NDArray[Any]) -> memoryview:
    return memoryview(values.view(np.uint8).data) if len(values) else memoryview(b"")
