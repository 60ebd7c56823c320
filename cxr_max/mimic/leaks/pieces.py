"""Bytes and table columns to texts whose words can be hashed, each with the way back to the place it came from."""

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cxr_max.mimic.leaks.formats import Data
from cxr_max.mimic.leaks.words import BREAK, CHUNK

OVERLAP = 1 << 14
"""Bytes that neighbouring windows share, so that no run is cut."""

_BLOCK = 16
"""Readable text in binary data is looked for in blocks of this many bytes."""

_WIDE = (
    (re.compile(rb"(?:[\t\n\r\x20-\x7e]\x00){24,}"), 2),
    (re.compile(rb"(?:[\t\n\r\x20-\x7e]\x00\x00\x00){24,}"), 4),
)
_BASE64 = re.compile(
    rb"base64,\s*([A-Za-z0-9+/\s]{64,}={0,2})|((?:/9j/|iVBORw0KGgo|UEsDB|H4sIA)[A-Za-z0-9+/]{64,}={0,2})"
)
_READABLE = np.zeros(256, bool)
_READABLE[[9, 10, 13, *range(32, 127)]] = True


class Window(NamedTuple):
    """A stretch of a file as text.

    Attributes:
        text: what can be read in it, rows between `BREAK`s.
        offset: bytes of the file before the window.
        places: byte in the window of each byte of `text`, or None when the two are the same.
        begin, end: runs that begin at these bytes of the window are its own; others belong to its neighbours.
    """

    text: bytes
    offset: int
    places: npt.NDArray[np.int64] | None
    begin: int
    end: int


def windows(data: Data) -> Iterator[Window]:
    """The text of bytes of no known format, in overlapping windows; stretches that are no text are left out."""
    step = CHUNK - 2 * OVERLAP
    for own in range(0, max(len(data), 1), step):
        offset = max(own - OVERLAP, 0)
        chunk = data[offset : own + step + OVERLAP]
        last = own + step >= len(data)
        whole = Window(chunk, offset, None, own - offset, len(chunk) if last else own - offset + step)
        if b"\x00" in chunk:
            yield from _readable(whole)
            yield from _wide(whole)
        else:
            yield whole


def _readable(whole: Window) -> Iterator[Window]:
    codes = np.frombuffer(whole.text, np.uint8)
    blocks = -(-codes.size // _BLOCK)
    good = np.zeros(blocks * _BLOCK, bool)
    good[: codes.size] = _READABLE[codes]
    dense = np.flatnonzero(good.reshape(blocks, _BLOCK).sum(1) >= _BLOCK - 3)
    if not dense.size:
        return
    keep = np.zeros(blocks + 4, bool)
    for shift in range(5):
        keep[dense + shift] = True
    places = np.flatnonzero(np.repeat(keep[2:-2], _BLOCK)[: codes.size])
    # A gap becomes a break; the byte before the gap gives way to it.
    text = codes[places].copy()
    text[np.flatnonzero(np.diff(places) > 1)] = BREAK[0]
    yield whole._replace(text=text.tobytes(), places=places)


def _wide(whole: Window) -> Iterator[Window]:
    codes = np.frombuffer(whole.text, np.uint8)
    codes = codes[: codes.size // _BLOCK * _BLOCK]
    alone = _READABLE[codes[:-1]] & (codes[1:] == 0)
    # The patterns are slow on binary data; a stretch of them fills whole blocks with letters that a 0 follows.
    if not alone.size or np.append(alone, False).reshape(-1, _BLOCK).sum(1).max() < _BLOCK // 4 - 1:
        return
    for pattern, width in _WIDE:
        for found in pattern.finditer(whole.text):
            places = np.arange(found.start(), found.end(), width)
            yield whole._replace(text=found.group()[::width], places=places)


def decoded(data: Data) -> Data:
    """Text in UTF-16 or UTF-32 with a byte-order mark, as UTF-8; everything else as it came."""
    head = data[:4]
    for mark, name in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if head.startswith(mark):
            return data[:].decode(name, errors="replace").encode()
    return data


def embedded(data: Data) -> Iterator[tuple[int, str, bytes]]:
    """Files within bytes of no known format: base64 of any kind in text, JPEG, PNG and DICOM in binary data.

    Yields:
        Offset, a word for the kind of embedding, and the bytes.
    """
    if b"\x00" not in data[:CHUNK]:
        for found in _BASE64.finditer(data):
            packed = re.sub(rb"\s", b"", found.group(1) or found.group(2)).rstrip(b"=")
            packed = packed[: len(packed) - (len(packed) % 4 == 1)]
            yield found.start(), "base64", base64.b64decode(packed + b"=" * (-len(packed) % 4))
        return
    at = -1
    while (at := data.find(b"\xff\xd8\xff", at + 1)) >= 0:
        if (end := _jpeg_end(data, at)) > 0:
            yield at, "jpeg", data[at:end]
    at = -1
    while (at := data.find(b"\x89PNG\r\n\x1a\n", at + 1)) >= 0:
        if (end := data.find(b"IEND\xaeB`\x82", at)) > 0:
            yield at, "png", data[at : end + 8]
    at = -1
    while (at := data.find(b"DICM\x02\x00\x00\x00UL\x04\x00", at + 1)) >= 0:
        if at >= 128:
            yield at - 128, "dicom", data[at - 128 : at + (1 << 27)]


def _jpeg_end(data: Data, at: int) -> int:
    """The byte after a JPEG's end-of-image marker; 0 when its segments make no sense."""
    at += 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return 0
        at += 2 + length
        if marker == 0xDA:
            # Within a scan FF stands before 00 or a restart marker; segments of further scans are passed in the search.
            end = data.find(b"\xff\xd9", at)
            return end + 2 if end > 0 else 0
    return 0


def leaves(name: str, array: Any) -> Iterator[tuple[str, Any]]:
    """The text and binary columns of a column, however deep; one value per row, the items of a list joined by line."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        yield from leaves(name, array.storage)
    elif pa.types.is_dictionary(kind):
        yield from leaves(name, array.dictionary_decode())
    elif pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            yield from leaves(f"{name}.{kind.field(i).name}", pc.struct_field(array, i))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int64())
        for inner, values in leaves(name, array.flatten()):
            yield inner, _join(values, offsets, b"\n")
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        yield name, array.cast(_TEXT)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        yield name, array.cast(_BYTES)
    elif pa.types.is_map(kind):
        yield name, pa.array([None if v is None else str(v) for v in array.to_pylist()], _TEXT)


_TEXT, _BYTES = pa.large_string(), pa.large_binary()


def joined(array: Any) -> Iterator[tuple[int, bytes]]:
    """The rows of a text column as texts of about `CHUNK` bytes with `BREAK`s between rows; the first row of each."""
    if array.nbytes > CHUNK and len(array) > 1:
        half = len(array) // 2
        yield from joined(array[:half])
        yield from ((half + first, text) for first, text in joined(array[half:]))
        return
    yield 0, _join(array, pa.array([0, len(array)], pa.int64()), BREAK)[0].as_buffer().to_pybytes()


def _join(values: Any, offsets: Any, between: bytes) -> Any:
    text = values.type == _TEXT
    filled = pc.fill_null(values, "" if text else b"")
    separator = pa.scalar(between.decode() if text else between, values.type)
    return pc.binary_join(pa.LargeListArray.from_arrays(offsets, filled), separator)
