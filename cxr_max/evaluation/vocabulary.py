"""The words R2Gen's tokenizer knows: those its training reports have often enough; all others become <unk>.

Words are counted in cleaned texts (`text.clean`), one text an image, so that the report of a study with two images
counts twice, as in R2Gen's annotation file; ten times are enough for MIMIC-CXR, three for IU X-ray.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cxr_max import mimic
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.evaluation.text import clean
from cxr_max.mimic import reports

TRAIN = "train"
MIN_COUNT = 10
"""R2Gen's threshold for MIMIC-CXR."""


class Vocabulary(NamedTuple):
    """Words that are kept, and what tells two vocabularies apart.

    Attributes:
        words: cleaned words; "." is one, where sentences are separated by it.
        digest: of the sorted words, 12 hex digits.
    """

    words: frozenset[str]
    digest: str

    def __str__(self) -> str:
        """As it stands in a signature."""
        return f"vocabulary {self.digest} of {len(self.words)} words"


def of(options: Mapping[str, str], places: Sequence[Path]) -> Vocabulary | None:
    """The vocabulary that `vocabulary=` and `min_count=` name.

    Args:
        options: `vocabulary`: `train` (FINDINGS of the train split under `places`), R2Gen's annotation file (JSON), or
            a text file with one word a line; `min_count`: how often a word must stand in the training reports.
        places: MIMIC-CXR folders.

    Returns:
        None without `vocabulary`.

    Raises:
        UsageError: `min_count` is no whole number from 1, or has nothing to count in.
        MissingFileError: no such file; no split table or no report with FINDINGS.
        DataError: the file is not of one of the two forms.
    """
    name = options.get("vocabulary", "")
    counted = name == TRAIN or name.endswith(".json")
    given = options.get("min_count")
    if given is not None and not counted:
        raise UsageError("min_count without reports to count in", next="vocabulary=train,min_count=N")
    if not name:
        return None
    if given is not None and (not given.isascii() or not given.isdigit() or int(given) < 1):
        raise UsageError(f"min_count={given!r}; allowed: whole numbers from 1")
    least = MIN_COUNT if given is None else int(given)
    if name == TRAIN:
        return _of_train(tuple(places), least)
    path = Path(name).expanduser()
    if not path.is_file():
        raise MissingFileError(f"no vocabulary at {path}", next="--task-args vocabulary=train, or vocabulary=FILE")
    return build(_annotated(path), least) if counted else made(_listed(path))


def build(texts: Iterable[str], least: int) -> Vocabulary:
    """The words that stand at least so often in some reports."""
    counts = Counter(word for text in texts for word in clean(text).split())
    return made(word for word, n in counts.items() if n >= least)


def made(words: Iterable[str]) -> Vocabulary:
    """A vocabulary of these words.

    Raises:
        DataError: there is none.
    """
    kept = frozenset(words)
    if not kept:
        raise DataError("the vocabulary has no word", next="a smaller min_count=N, or another file")
    return Vocabulary(kept, hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()[:12])


def _listed(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as e:
        raise DataError(f"{path.name} is no list of words in UTF-8") from e


def _annotated(path: Path) -> list[str]:
    try:
        return [str(row["report"]) for row in json.loads(path.read_text(encoding="utf-8"))[TRAIN]]
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path.name} is no annotation file: it has no reports under {TRAIN!r}") from e


@lru_cache(2)
def _of_train(places: tuple[Path, ...], least: int) -> Vocabulary:
    root = mimic.open_root(*places)
    train = root.splits().filter(pl.col("split") == TRAIN)
    (images,) = mimic.tables.collect(train.select("dicom_id", "subject_id", "study_id"))
    wanted = images.select(pl.col("dicom_id").alias("instance_id"), "subject_id", "study_id")
    texts = reports.references(root, wanted)["findings"].drop_nulls().to_list()
    if not texts:
        raise MissingFileError(
            "no report with FINDINGS of the train split is under the MIMIC-CXR roots", next="cxr-max mimic check"
        )
    return build(texts, least)
