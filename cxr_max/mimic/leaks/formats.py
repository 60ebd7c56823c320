"""What is inside of a file: archives, compressed streams, columnar tables, databases, pictures, plain bytes.

Told apart by their first bytes, never by their names. Every piece goes to a `Sink` with the way to it, such as
`model.pt!archive/data.pkl`; what cannot be looked into is told to the sink as well, never passed over.
"""

import bz2
import gzip
import io
import lzma
import mmap
import pickletools
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from cxr_max.folders import cache_dir

Data = bytes | mmap.mmap
MAX_DEPTH = 6
"""Containers within containers that are opened."""
MAX_MEMBER = 1 << 36
"""Most bytes one member may unfold to (64 GiB)."""
MAX_RATIO = 2000
"""Most times a compressed stream may grow, beyond the first 256 MiB; more is a bomb."""
_SPOOL = 1 << 25
_ROWS = 2048
_SHORT = 22
"""Twelve words take more characters than this."""


class Sink(Protocol):
    """Where the pieces go."""

    def raw(self, where: str, data: Data) -> None:
        """Bytes of no known format: text, HTML, JSON, pickles, tensors, logs."""

    def picture(self, where: str, data: Data, kind: str) -> None:
        """The bytes of a JPEG, PNG, DICOM, TIFF, WebP or GIF file."""

    def batch(self, where: str, batch: Any, first: int) -> None:
        """A `pyarrow.RecordBatch` of a table; `first` is the 1-based number of its first row."""

    def closed(self, where: str, reason: str) -> None:
        """Something that could not be looked into."""


def kind_of(head: bytes) -> str:
    """The format that the first 512 bytes tell; `raw` when none is known."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[128:132] == b"DICM":
        return "dicom"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and len(head) > 2:
        return "pickle"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return "raw"


_MAGIC = (
    (b"PAR1", "parquet"),
    (b"ARROW1\x00\x00", "arrow"),
    (b"\xff\xff\xff\xff", "stream"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"%PDF-", "pdf"),
    (b"7z\xbc\xaf'\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
)
_PICTURES = ("png", "jpeg", "gif", "tiff", "dicom", "webp")
_PDF_STREAM = re.compile(rb"stream\r?\n(?=x[\x01\x5e\x9c\xda])")
_CLOSED = {"7z": "7z archives are not opened", "rar": "RAR archives are not opened"}


def open_file(path: Path, where: str, sink: Sink) -> None:
    """Hand the pieces of one file to the sink."""
    try:
        with path.open("rb") as file, _mapped(file) as data:
            open_data(data, where, sink)
    except OSError as e:
        sink.closed(where, f"cannot be read ({type(e).__name__})")


def open_data(data: Data, where: str, sink: Sink, depth: int = 0) -> None:
    """Hand the pieces of a file's bytes to the sink; `depth` counts the containers around it."""
    kind = kind_of(data[:512])
    if kind in _PICTURES:
        sink.picture(where, data, kind)
    elif kind in _CLOSED:
        sink.closed(where, _CLOSED[kind])
    elif kind in _OPENERS:
        if depth >= MAX_DEPTH:
            sink.closed(where, f"lies in more than {MAX_DEPTH} containers")
            return
        try:
            _OPENERS[kind](data, where, sink, depth + 1)
        except _BROKEN as e:
            # What is broken for its own reader can still hold readable text.
            sink.closed(where, f"is not a whole {kind} file ({type(e).__name__}); only its plain bytes were read")
            sink.raw(where, data)
    elif len(data):
        sink.raw(where, data)


@contextmanager
def _mapped(file: Any) -> Iterator[Data]:
    file.seek(0, io.SEEK_END)
    if file.tell() == 0:
        yield b""
        return
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        yield data
    finally:
        # A reader that failed is still held by its exception; the map goes when that does.
        with suppress(BufferError):
            data.close()


class _TooLargeError(Exception):
    pass


_BROKEN = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, pa.ArrowException,
    sqlite3.Error, ValueError, NotImplementedError, RuntimeError, KeyError, _TooLargeError,
)  # fmt: skip


def _unfold(stream: Any, where: str, sink: Sink, depth: int, packed: int) -> None:
    """Read a decompressing stream to its end, to memory or, when large, to a nameless file in the private cache.

    What comes out before a stream breaks, as that of a log whose writer was killed, is looked at too.
    """
    # `read` of a broken stream loses what it had; `read1` gives it first.
    take = getattr(stream, "read1", stream.read)
    size = 0
    broken: BaseException | None = None
    with SpooledTemporaryFile(_SPOOL, mode="w+b", dir=str(cache_dir())) as file:
        try:
            while block := take(1 << 16):
                size += len(block)
                if size > MAX_MEMBER or (size > 1 << 28 and size > packed * MAX_RATIO):
                    raise _TooLargeError
                file.write(block)
        except _BROKEN as e:
            broken = e
        if size <= _SPOOL:
            file.seek(0)
            open_data(file.read(), where, sink, depth)
        else:
            file.rollover()
            file.flush()
            with _mapped(file) as data:
                open_data(data, where, sink, depth)
    if broken is not None:
        raise broken


def _zip(data: Data, where: str, sink: Sink, depth: int) -> None:
    with zipfile.ZipFile(_file(data)) as archive:
        for info in archive.infolist():
            inner = f"{where}!{info.filename}"
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                sink.closed(inner, "is encrypted")
                continue
            with archive.open(info) as stream:
                _unfold(stream, inner, sink, depth, info.compress_size)


def _tar(data: Data, where: str, sink: Sink, depth: int) -> None:
    with tarfile.open(fileobj=_file(data)) as archive:
        for member in archive:
            if member.isfile():
                _unfold(archive.extractfile(member), f"{where}!{member.name}", sink, depth, member.size)


def _file(data: Data) -> Any:
    # An mmap is not quite a file before Python 3.13.
    return pa.BufferReader(pa.py_buffer(data))


def _compressed(reader: Callable[[Any], Any]) -> Callable[[Data, str, Sink, int], None]:
    def unfold(data: Data, where: str, sink: Sink, depth: int) -> None:
        with reader(_file(data)) as stream:
            _unfold(stream, f"{where}!", sink, depth, len(data))

    return unfold


def _zstd(data: Data, where: str, sink: Sink, depth: int) -> None:
    # Arrow brings its own decompressor.
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), "zstd") as stream:
        _unfold(stream, f"{where}!", sink, depth, len(data))


def _parquet(data: Data, where: str, sink: Sink, depth: int) -> None:
    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
    _metadata(file.schema_arrow, where, sink)
    first = 1
    for batch in file.iter_batches(batch_size=_ROWS):
        sink.batch(where, batch, first)
        first += batch.num_rows


def _arrow(data: Data, where: str, sink: Sink, depth: int) -> None:
    reader = pa.ipc.open_file(pa.py_buffer(data))
    _metadata(reader.schema, where, sink)
    _batches((reader.get_batch(i) for i in range(reader.num_record_batches)), where, sink)


def _stream(data: Data, where: str, sink: Sink, depth: int) -> None:
    reader = pa.ipc.open_stream(pa.py_buffer(data))
    _metadata(reader.schema, where, sink)
    _batches(reader, where, sink)


def _batches(batches: Any, where: str, sink: Sink) -> None:
    first = 1
    for whole in batches:
        for start in range(0, whole.num_rows, _ROWS):
            batch = whole.slice(start, _ROWS)
            sink.batch(where, batch, first)
            first += batch.num_rows


def _metadata(schema: Any, where: str, sink: Sink) -> None:
    texts = [value for m in (schema.metadata, *(f.metadata for f in schema)) for value in (m or {}).values()]
    if texts:
        sink.raw(f"{where}!schema metadata", b"\n".join(texts))


def _sqlite(data: Data, where: str, sink: Sink, depth: int) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data[:])
        # A column may hold anything, whatever its declared type.
        connection.text_factory = bytes
        names = [n.decode() for (n,) in connection.execute("select name from sqlite_master where type = 'table'")]
        for name in names:
            _sqlite_table(connection, name, f"{where}!{name}", sink)
    finally:
        connection.close()


def _sqlite_table(connection: sqlite3.Connection, name: str, where: str, sink: Sink) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        cursor = connection.execute(f"select * from {quoted}")
    except sqlite3.Error:
        # A virtual table whose module is not here; its shadow tables are read like any other.
        return
    columns = [c[0] for c in cursor.description]
    first = 1
    while rows := cursor.fetchmany(_ROWS):
        arrays = [_column([row[i] for row in rows]) for i in range(len(columns))]
        sink.batch(where, pa.RecordBatch.from_arrays(arrays, names=columns), first)
        first += len(rows)


def _column(values: list[Any]) -> Any:
    if any(isinstance(v, bytes) for v in values):
        return pa.array(
            [v if isinstance(v, bytes) or v is None else str(v).encode() for v in values], pa.large_binary()
        )
    return pa.array([None if v is None else float(v) for v in values], pa.float64())


def _pickle(data: Data, where: str, sink: Sink, depth: int) -> None:
    """Strings and bytes of pickles, read by opcode: nothing is ever executed. What follows the last one is raw."""
    file, texts = io.BytesIO(data[:]), []
    end = 0
    try:
        while end < len(data) and data[end : end + 1] == b"\x80":
            for _, argument, _ in pickletools.genops(file):
                if isinstance(argument, str) and len(argument) > _SHORT:
                    texts.append(argument)
                elif isinstance(argument, bytes | bytearray) and len(argument) > _SHORT:
                    open_data(bytes(argument), f"{where}!bytes", sink, depth)
            end = file.tell()
    finally:
        if texts:
            strings = pa.array([t.encode("utf-8", errors="replace").decode() for t in texts], pa.large_string())
            for start in range(0, len(texts), _ROWS):
                part = pa.RecordBatch.from_arrays([strings[start : start + _ROWS]], names=["string"])
                sink.batch(where, part, start + 1)
    if end < len(data):
        sink.raw(where, data[end:])


def _pdf(data: Data, where: str, sink: Sink, depth: int) -> None:
    sink.raw(where, data)
    for found in _PDF_STREAM.finditer(data):
        body = data[found.end() : data.find(b"endstream", found.end())]
        try:
            sink.raw(f"{where}!stream", zlib.decompressobj().decompress(body, 1 << 28))
        except zlib.error:
            continue
    sink.closed(where, "is a PDF file: its text is found only where it stands in one piece")


def _hdf5(data: Data, where: str, sink: Sink, depth: int) -> None:
    sink.raw(where, data)
    sink.closed(where, "is an HDF5 file: compressed data sets in it are not opened")


_OPENERS: dict[str, Callable[[Data, str, Sink, int], None]] = {
    "zip": _zip,
    "tar": _tar,
    "gzip": _compressed(lambda f: gzip.GzipFile(fileobj=f)),
    "bzip2": _compressed(bz2.BZ2File),
    "xz": _compressed(lzma.LZMAFile),
    "zstd": _zstd,
    "parquet": _parquet,
    "arrow": _arrow,
    "stream": _stream,
    "sqlite": _sqlite,
    "pickle": _pickle,
    "pdf": _pdf,
    "hdf5": _hdf5,
}
