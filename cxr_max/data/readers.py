"""Files that teacher runs leave behind, read record by record in bounded memory.

JSON arrays, JSON Lines, CSV, TSV and Parquet; the text forms also as .gz and .zst. The form is taken from the content
where the suffix leaves it open (`.json` often holds JSON Lines). A record that cannot be read comes as a reason
instead; a file that cannot be read to its end is an error, never a shorter table.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max.errors import DataError

TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
COMPRESSIONS = (".gz", ".zst")
SUFFIXES: tuple[str, ...] = (*TEXT_SUFFIXES, ".parquet", *(t + c for t in TEXT_SUFFIXES for c in COMPRESSIONS))

MAX_RECORD = 64 << 20
"""Bytes of one record; a longer line is rejected, a longer array element or CSV field is an error."""
MAX_DOCUMENT = 1 << 30
"""Bytes of a JSON document that is one object and so has to be read whole."""
MAX_RATIO, RATIO_FROM = 200, 64 << 20
"""A compressed file may expand by this factor once it has expanded to this many bytes; text reaches 5 to 50."""
_CHUNK = 4 << 20
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_BOMS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class Record(NamedTuple):
    """One record: its 1-based line or element number, and its fields or the reason why there are none."""

    line: int
    fields: dict[str, Any] | None
    reason: str = ""


def kind_of(path: Path) -> str:
    """jsonl, json, csv, tsv or parquet by the name of a file; empty when it is none of them."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    suffix = "." + name.rpartition(".")[2]
    if suffix == ".parquet":
        return "parquet" if path.name.lower().endswith(".parquet") else ""
    return {".ndjson": "jsonl"}.get(suffix, suffix[1:]) if suffix in TEXT_SUFFIXES else ""


def read(path: Path) -> Iterator[Record]:
    """All records of a file.

    Raises:
        DataError: it is empty, truncated, of no known form, not UTF-8 as a whole, or expands beyond all measure.
    """
    kind = kind_of(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty", next="leave it out, or fetch it again")
        if kind == "parquet":
            yield from _parquet(path)
        elif kind:
            with _Opened(path) as file:
                yield from _text(path, file, kind)
        else:
            raise DataError(f"{path.name}: unknown kind of file; known: {', '.join(SUFFIXES)}")
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException) as e:
        raise DataError(f"{path} cannot be read to its end: {type(e).__name__}", next="fetch it again") from e
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or 'damaged or truncated'}", next="check the file") from e


def _text(path: Path, file: BinaryIO, kind: str) -> Iterator[Record]:
    head = file.read(_CHUNK)
    for bom, encoding in _BOMS.items():
        if head.startswith(bom):
            raise DataError(f"{path} is {encoding}, UTF-8 is needed", next=f"iconv -f {encoding} -t UTF-8")
    head = head.removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        raise DataError(f"{path} holds no records", next="leave it out, or fetch it again")
    if kind in ("csv", "tsv"):
        yield from _csv(path, head, file, "\t" if kind == "tsv" else ",")
    elif head.lstrip()[:1] == b"[":
        yield from _array(path, head, file)
    elif kind == "json" and not _first_line_is_record(head):
        yield from _document(path, head, file)
    else:
        yield from _lines(head, file)


def _first_line_is_record(head: bytes) -> bool:
    first, newline, rest = head.lstrip().partition(b"\n")
    if not newline or not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(head: bytes, file: BinaryIO) -> Iterator[Record]:
    number, tail, dropping = 0, b"", False
    chunk = head
    while chunk:
        *lines, tail = (tail + chunk).split(b"\n") if b"\n" in chunk else (tail + chunk,)
        for line in lines:
            number += 1
            if dropping:
                dropping = False
                yield Record(number, None, "over_long")
            elif line.strip():
                yield _line(number, line)
        if len(tail) > MAX_RECORD:
            tail, dropping = b"", True
        chunk = file.read(_CHUNK)
    if dropping:
        yield Record(number + 1, None, "over_long")
    elif tail.strip():
        yield _line(number + 1, tail)


def _line(number: int, line: bytes) -> Record:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Record(number, None, "invalid_encoding")
    except (ValueError, RecursionError):
        return Record(number, None, "broken_record")
    return Record(number, fields) if isinstance(fields, dict) else Record(number, None, "broken_record")


def _array(path: Path, head: bytes, file: BinaryIO) -> Iterator[Record]:
    """Elements of a JSON array, one at a time; numbers count elements, not lines."""
    decode = codecs.getincrementaldecoder("utf-8")()
    decoder = json.JSONDecoder()
    buffer, at, number, more = _decoded(path, decode, head, False).lstrip(), 1, 0, True
    while True:
        at = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]  # matches the empty string, too
        if buffer.startswith("]", at):
            return
        try:
            fields, end = decoder.raw_decode(buffer, at)
            if end == len(buffer) and more:
                raise ValueError
        except (ValueError, RecursionError) as e:
            if not more or len(buffer) - at > MAX_RECORD:
                raise DataError(
                    f"{path}: element {number + 1} of the JSON array is broken, too long, or the file ends in it",
                    next="mend it, or convert to JSON Lines, where one broken record costs one record",
                ) from e
            chunk = file.read(max(_CHUNK, len(buffer)))
            more = bool(chunk)
            buffer, at = buffer[at:] + _decoded(path, decode, chunk, not more), 0
            continue
        at, number = end, number + 1
        yield Record(number, fields) if isinstance(fields, dict) else Record(number, None, "broken_record")


def _decoded(path: Path, decode: codecs.IncrementalDecoder, chunk: bytes, final: bool) -> str:
    try:
        return decode.decode(chunk, final)
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8", next="convert it: iconv -f ENCODING -t UTF-8") from e


def _document(path: Path, head: bytes, file: BinaryIO) -> Iterator[Record]:
    """A JSON object: one record, or the only list of records in it, or records by id."""
    whole = head + file.read(MAX_DOCUMENT)
    if len(whole) > MAX_DOCUMENT:
        raise DataError(f"{path} is one JSON object of more than {MAX_DOCUMENT >> 20} MiB", next="use JSON Lines")
    try:
        found = json.loads(whole.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8", next="convert it: iconv -f ENCODING -t UTF-8") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path} is not valid JSON", next="fetch it again") from e
    lists = [v for v in found.values() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)]
    nested = [v for v in found.values() if isinstance(v, dict)]
    if len(lists) == 1 and not {"messages", "conversations"} & found.keys():
        rows = lists[0]
    elif found and len(nested) == len(found):
        rows = [{"id": key, **record} for key, record in found.items()]
    else:
        rows = [found]
    yield from (Record(i, r) for i, r in enumerate(rows, 1))


def _csv(path: Path, head: bytes, file: BinaryIO, delimiter: str) -> Iterator[Record]:
    joined = io.TextIOWrapper(
        io.BufferedReader(_Rest(head, file)), encoding="utf-8", errors="surrogateescape", newline=""
    )
    before = csv.field_size_limit(MAX_RECORD)
    try:
        rows = csv.DictReader(joined, delimiter=delimiter, strict=True)
        for row in rows:
            broken = None in row or any(v is None for v in row.values())
            yield Record(rows.line_num, None, "broken_record") if broken else Record(rows.line_num, row)
    except csv.Error as e:
        raise DataError(f"{path} is no valid CSV near line {rows.line_num}: {e}", next="mend its quotes") from e
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[Record]:
    with pq.ParquetFile(path) as file:
        # Image bytes are of no use here and would fill the memory.
        names = [f.name for f in file.schema_arrow if not _holds_bytes(f.type)]
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=names):
            for i in range(batch.num_rows):
                number += 1
                try:
                    yield Record(number, batch.slice(i, 1).to_pylist()[0])
                except UnicodeDecodeError:
                    yield Record(number, None, "invalid_encoding")


def _holds_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class _Rest(io.RawIOBase):
    """The head that was looked at, then the rest of a file."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._file.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Opened:
    """A file opened for reading, decompressed on the way, with a watch on how far it expands."""

    def __init__(self, path: Path) -> None:
        self._path, self._out, self._allowed = path, 0, float("inf")
        suffix = path.suffix.lower()
        if suffix in COMPRESSIONS:
            self._allowed = max(RATIO_FROM, path.stat().st_size * MAX_RATIO)
        self._file: Any
        if suffix == ".gz":
            self._file = gzip.GzipFile(path, "rb")
        elif suffix == ".zst":
            self._file = pa.input_stream(str(path), compression="zstd")
        else:
            self._file = path.open("rb")

    def __enter__(self) -> BinaryIO:
        return cast(BinaryIO, self)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; raises DataError once the file has expanded too far."""
        data = bytes(self._file.read(size))
        self._out += len(data)
        if self._out > self._allowed:
            raise DataError(
                f"{self._path} expands to more than {MAX_RATIO} times its size; this is no text of teachers",
                next="if it is, decompress it yourself",
            )
        return data
