"""The journal of raw outputs: one JSON line a sample, appended and flushed to disk, so that a kill loses nothing done.

A line's key is a hash of (model revision, question set, sample, settings, prompt, images): the same command again does
only the missing work, and changed settings are other questions. A line torn by a kill is cut off when the file is
opened.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxr_max.evaluation.types import Failure, Model, Output, Sample
from cxr_max.journal import Lines

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


class Journal(Lines):
    """An append-only file of answers; the last line of a key counts.

    Attributes:
        answers: key to the answer noted for it.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file; see `Lines`."""
        self.answers: dict[str, Output | Failure] = {}
        super().__init__(path)

    def note(self, row: Mapping[str, Any]) -> None:
        """Keep a row's answer under its key."""
        self.answers[row["key"]] = _answer(row)

    def add(self, key: str, answer: Output | Failure, about: Mapping[str, Any]) -> None:
        """Append one answer and flush it to disk."""
        row: dict[str, Any] = {"format": FORMAT, "key": key, **about}
        if isinstance(answer, Failure):
            row["failed"] = answer.reason
        else:
            row |= {"output": answer.text, "scores": answer.scores}
            if answer.samples:
                row["samples"] = answer.samples
        self.append(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))


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
                journal.append(line)
    for part in parts:
        part.unlink()


def _answer(row: Mapping[str, Any]) -> Output | Failure:
    if "failed" in row:
        return Failure(str(row["failed"]))
    scores = row["scores"]
    samples = tuple(str(s) for s in row.get("samples", ()))
    return Output(str(row["output"]), None if scores is None else tuple(float(s) for s in scores), samples)
