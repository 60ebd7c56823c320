"""A journal of finished pieces of long work: one JSON line each, appended and flushed to disk.

A kill loses at most the piece in hand; a line it tore is cut off when the file is opened again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cxr_max.errors import DataError


class Journal:
    """An append-only file of JSON objects by key; the last line of a key counts.

    Attributes:
        path: the file.
        known: key to what was noted for it.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file, mode 0600.

        Raises:
            DataError: a whole line cannot be read.
        """
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}
        if path.exists():
            self._read()
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
            try:
                entry = json.loads(line)
                self.known[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError) as e:
                raise DataError(
                    f"line {number} of {self.path.name} cannot be read", next="move the file away and run again"
                ) from e

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        """Append one piece and flush it to disk."""
        line = json.dumps({"key": key, "value": dict(value)}) + "\n"
        # One write call a line: another process that appends to the same file never lands inside it.
        os.write(self._handle, line.encode("ascii"))
        os.fsync(self._handle)
        self.known[key] = dict(value)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
