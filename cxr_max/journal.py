"""A journal of finished pieces of long work: one JSON line each, appended and flushed to disk.

A kill loses at most the piece in hand; a line it tore is cut off when the file is opened again.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from cxr_max.errors import DataError


class Lines(ABC):
    """An append-only file of JSON objects, one a line; `note` says what a row means and is called for each.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file, mode 0600.

        Raises:
            DataError: a whole line cannot be read.
        """
        self.path = path
        if path.exists():
            self._read()
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @abstractmethod
    def note(self, row: Mapping[str, Any]) -> None:
        """Take in a row that stands in the file; a later row of the same key counts.

        Raises:
            KeyError, TypeError, ValueError: it is no row of this kind of journal.
        """

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
            try:
                self.note(json.loads(line))
            except (ValueError, KeyError, TypeError) as e:
                raise DataError(
                    f"line {number} of {self.path.name} cannot be read", next="move the file away and run again"
                ) from e

    def append(self, line: bytes) -> None:
        """Append a row as it will stand in the file, and flush it to disk."""
        # One write call a line: another process that appends to the same file never lands inside it.
        os.write(self._handle, line + b"\n")
        os.fsync(self._handle)
        self.note(json.loads(line))

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Journal(Lines):
    """Pieces of work by key.

    Attributes:
        known: key to what was noted for it.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file; see `Lines`."""
        self.known: dict[str, dict[str, Any]] = {}
        super().__init__(path)

    def note(self, row: Mapping[str, Any]) -> None:
        """Keep a row's value under its key."""
        self.known[row["key"]] = row["value"]

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        """Append one piece and flush it to disk."""
        self.append(json.dumps({"key": key, "value": dict(value)}).encode("ascii"))
