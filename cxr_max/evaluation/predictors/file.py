"""Answers from a file: JSON lines with `id`, `output` and, if known, `scores` (one log-likelihood per option)."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_max.errors import CxrMaxWarning, DataError, MissingFileError, UsageError
from cxr_max.evaluation.types import Failure, Item, Output, Sample

NAME = "file"


class File:
    """Stored answers; a sample that is not in the file fails, a file that answers none of them is an error."""

    name = NAME

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"no file of predictions at {path}")
        content = path.read_bytes()
        self.revision = hashlib.sha256(content).hexdigest()[:12]
        self.settings: Mapping[str, Any] = {}
        self._answers = _read(content, path.name)

    def prepare(self, items: Sequence[Item]) -> None:
        """Check that the file is about these questions; say how many of them it lacks.

        Raises:
            UsageError: it answers none of them, so it belongs to another task or split.
            DataError: it has scores, and not one for each option.
        """
        asked = [i.sample for i in items if i.asked]
        mine = [s for s in asked if s.id in self._answers]
        wrong = [s for s in mine if s.options and len(self._answers[s.id].scores or s.options) != len(s.options)]
        if wrong:
            raise DataError(
                f"{len(wrong)} lines of the file have not one score for each of {len(wrong[0].options)} options"
            )
        if mine and len(mine) < len(asked):
            others = len(self._answers) - len(mine)
            warnings.warn(
                f"the file answers {len(mine)} of {len(asked)} questions, the others fail; "
                f"{others} of its ids are no question of this task",
                CxrMaxWarning,
                stacklevel=2,
            )
        if items and not mine:
            raise UsageError(
                f"none of the {len(self._answers)} ids in the file is one of the {len(items)} samples of the task",
                next="check that the predictions are for this task and split",
            )

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        """One answer a sample."""
        for sample in samples:
            yield self._answers.get(sample.id, Failure("not in the file"))


def _read(content: bytes, name: str) -> dict[str, Output]:
    answers: dict[str, Output] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, text, scores = str(row["id"]), row["output"], row.get("scores")
            # Neither null nor a number is an answer, nor is a string a list of scores.
            if not isinstance(text, str) or not isinstance(scores, list | None):
                raise TypeError
            output = Output(text, None if scores is None else tuple(float(s) for s in scores))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise DataError(f"line {number} of {name} is not an object with id and output") from e
        if output.scores and any(s != s for s in output.scores):
            raise DataError(f"line {number} of {name} has a score that is NaN")
        if key in answers:
            raise DataError(f"line {number} of {name} answers a sample for the second time")
        answers[key] = output
    return answers


def make(path: Path | str) -> File:
    """Answers of a JSON lines file."""
    return File(Path(path).expanduser())
