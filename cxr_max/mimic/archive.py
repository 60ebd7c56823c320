"""Reports straight from `mimic-cxr-reports.zip`, whose 227,835 small members `zipfile` is slow to list and to open.

Members are found by the last parts of their name (`p10/p10000032/s50414267.txt`), whatever folder stands before, and
read at their place without moving a shared position, so that threads and processes may share one archive.
"""

import os
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path

from cxr_max.errors import DataError

_TAIL = len("p10/p10000032/s50414267.txt")
_END = struct.Struct("<10xHLLH")
_END64 = struct.Struct("<32xQQQ")
_ENTRY = struct.Struct("<8xHH4xLLLHHH8xL")
_LENGTHS = struct.Struct("<HHH")
_LOCAL = struct.Struct("<26xHH")
_SPARE = 256


class ReportZip:
    """The members of one archive.

    Raises:
        DataError: not a readable zip.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("rb", buffering=0)
            self._file = self._stream.fileno()
            self._directory = self._read_directory()
        except (OSError, struct.error, zipfile.BadZipFile) as e:
            raise DataError(f"{path.name} is not a readable zip: {type(e).__name__}", next="fetch it again") from None
        self._at = self._index()

    def __contains__(self, name: str) -> bool:
        """Whether there is a report `p10/p10000032/s50414267.txt`."""
        return name.encode() in self._at

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of a report; None when it is broken, encrypted, packed in another way, or larger than `limit`."""
        flags, method, crc, packed, size, _, _, _, offset = _ENTRY.unpack_from(self._directory, self._at[name.encode()])
        if size > limit or packed > 2 * limit or flags & 1 or method not in (0, 8):
            return None
        try:
            data = os.pread(self._file, _LOCAL.size + _SPARE + packed, offset)
            name_length, extra_length = _LOCAL.unpack_from(data)
            start = _LOCAL.size + name_length + extra_length
            if len(data) < start + packed:
                data = os.pread(self._file, start + packed, offset)
            content = data[start : start + packed]
            if method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except (OSError, struct.error, zlib.error):
            return None
        return content if len(content) == size and zlib.crc32(content) == crc else None

    def _read_directory(self) -> bytes:
        length = os.fstat(self._file).st_size
        start = max(0, length - 66_000)
        tail = os.pread(self._file, length - start, start)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise zipfile.BadZipFile
        count, size, offset, _ = _END.unpack_from(tail, at)
        locator = tail[at - 20 : at] if at >= 20 else b""
        if locator.startswith(b"PK\x06\x07"):
            record = os.pread(self._file, 56, int.from_bytes(locator[8:16], "little"))
            count, size, offset = _END64.unpack_from(record)
        directory = os.pread(self._file, size, offset) if offset + size <= length else b""
        if len(directory) != size or (count and not directory.startswith(b"PK\x01\x02")):
            raise zipfile.BadZipFile
        return directory

    def _index(self) -> dict[bytes, int]:
        """End of a member's name -> where its entry stands in the directory."""
        found: dict[bytes, int] = {}
        directory, at, unpack, fixed = self._directory, 0, _LENGTHS.unpack_from, _ENTRY.size
        while at + fixed <= len(directory):
            name, extra, comment = unpack(directory, at + 28)
            end = at + fixed + name
            found[directory[max(end - _TAIL, at + fixed) : end]] = at
            at = end + extra + comment
        return found


@cache
def open_zip(path: str, mtime_ns: int) -> ReportZip:
    """An archive, kept open; `mtime_ns` tells one that changed.

    Raises:
        DataError: not a readable zip.
    """
    del mtime_ns
    return ReportZip(Path(path))
