"""The journal of raw outputs: one JSON line a sample, appended and flushed to disk, so that a kill loses nothing done.

A line's key is a hash of (model revision, question set, sample, settings, prompt, images): the same command again does
only the missing work, and changed settings are other questions. A line torn by a kill is cut off when the file is
opened.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from cxr_max.errors import DataError
from cxr_max.evaluation.types import Failure, Model, Output, Sample

FORMAT = 1


def key_of(questions: str, sample: Sample, model: Model) -> str:
    """Identity of one answer: 32 hex digits."""
    parts = {
        "questions": questions,
        "sample": sample.id,
        "prompt": sample.prompt,
        "images": [p.name for p in sample.images],
        "options": sample.options,
        "model": model.name,
        "revision": model.revision,
        "settings": dict(model.settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


class Journal:
    """An append-only file of answers; the last line of a key counts."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            DataError: a line before the last one cannot be read.
        """
        self.path = path
        self.answers: dict[str, Output | Failure] = {}
        if path.exists():
            self._read()
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                self.answers[row["key"]] = _answer(row)
            except (ValueError, KeyError, TypeError) as e:
                raise DataError(
                    f"line {number} of {self.path.name} cannot be read", next="move the file away and run again"
                ) from e

    def add(self, key: str, answer: Output | Failure, about: Mapping[str, Any]) -> None:
        """Append one answer and flush it to disk."""
        row: dict[str, Any] = {"format": FORMAT, "key": key, **about}
        if isinstance(answer, Failure):
            row["failed"] = answer.reason
        else:
            row |= {"output": answer.text, "scores": answer.scores}
            if answer.samples:
                row["samples"] = answer.samples
        self.append(key, json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    def append(self, key: str, line: bytes) -> None:
        """Append a line as it stands in another journal and flush it to disk."""
        # One write call a line: another process that appends to the same file never lands inside it.
        os.write(self._handle, line + b"\n")
        os.fsync(self._handle)
        self.answers[key] = _answer(json.loads(line))

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def merge(path: Path, order: Iterable[str]) -> None:
    """Put the journals of several processes, `NAME.0.jsonl` and so on, behind the main one, and remove them.

    Args:
        path: the main journal, `NAME.jsonl`.
        order: keys in the order in which one process alone would have answered them; others come last.

    Raises:
        DataError: a line of one of them cannot be read.
    """
    parts = sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))
    if not parts:
        return
    place = {key: i for i, key in enumerate(order)}
    rows: dict[str, bytes] = {}
    for part in parts:
        # Opening cuts off a torn last line and checks the others.
        Journal(part).close()
        for line in part.read_bytes().splitlines():
            rows[json.loads(line)["key"]] = line
    with Journal(path) as journal:
        for key, line in sorted(rows.items(), key=lambda row: place.get(row[0], len(place))):
            row = json.loads(line)
            if journal.answers.get(key) != _answer(row):
                journal.append(key, line)
    for part in parts:
        part.unlink()


def _answer(row: Mapping[str, Any]) -> Output | Failure:
    if "failed" in row:
        return Failure(str(row["failed"]))
    scores = row["scores"]
    samples = tuple(str(s) for s in row.get("samples", ()))
    return Output(str(row["output"]), None if scores is None else tuple(float(s) for s in scores), samples)
