"""CheXpert: the test set of 500 studies (or the 200 of the validation set), five competition classes, view 1."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import MissingFileError
from cxr_max.evaluation.sets.files import find, read_csv

ROOT = "chexpert"
CLASSES: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def labels(places: Sequence[Path]) -> pl.DataFrame:
    """One row a study: study (`patient64741/study1`), patient, five classes as 1, 0 or null.

    The test file is taken when it is there, else `valid.csv` (rows of one study have equal labels).

    Raises:
        MissingFileError, DataError: no label file, or a column is missing.
    """
    try:
        path, column = find(ROOT, places, r"(test_)?ground_?truth\.csv|test_labels\.csv"), "Study"
    except MissingFileError:
        path, column = find(ROOT, places, r"valid\.csv"), "Path"
    return read_labels(path, column)


def read_labels(path: Path, column: str) -> pl.DataFrame:
    """Read a CheXpert label file by header; -1 and empty become null.

    Args:
        path: CSV, also gzipped.
        column: the column with the path of the study or of its images.
    """
    frame = read_csv(path, (column, *CLASSES))
    study = pl.col(column).str.extract(r"(patient\d+/study\d+)", 1)
    values = (_value(c).alias(c) for c in CLASSES)
    rows = frame.select(study.alias("study"), study.str.extract(r"(patient\d+)", 1).alias("patient"), *values)
    return rows.unique("study", keep="first", maintain_order=True)


def _value(column: str) -> pl.Expr:
    number = pl.col(column).cast(pl.Float64, strict=False)
    return pl.when(number == 1).then(1).when(number == 0).then(0).otherwise(None).cast(pl.Int8)


def view(study: str, images: dict[str, Path]) -> Path | None:
    """The first frontal view of a study among image files keyed by `patient/study/file`."""
    mine = sorted(name for name in images if name.startswith(f"{study}/"))
    frontal = [name for name in mine if "frontal" in name]
    return images[(frontal or mine)[0]] if mine else None
