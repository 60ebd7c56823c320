"""NIH ChestX-ray14: 14 classes, the official list of test images.

The header writes commas inside brackets without quotes, so that it parses as 11 columns; only the first ones are used.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError
from cxr_max.evaluation.sets.files import find, read_csv

ROOT = "chestxray14"
CLASSES: dict[str, str] = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Effusion": "Effusion",
    "Infiltration": "Infiltration",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Emphysema": "Emphysema",
    "Fibrosis": "Fibrosis",
    "Pleural Thickening": "Pleural_Thickening",
    "Hernia": "Hernia",
}
"""Class as asked (CARZero's order) -> spelling in the label file."""


def labels(places: Sequence[Path], *, test_only: bool = True) -> pl.DataFrame:
    """One row an image: image, patient, 14 classes as 1 or 0.

    Args:
        places: folders of the set.
        test_only: keep the images of `test_list.txt`.

    Raises:
        MissingFileError, DataError: a file or column is missing, or a label is unknown.
    """
    frame = read_csv(
        find(ROOT, places, r"Data_Entry_2017.*\.csv(\.gz)?"), ("Image Index", "Finding Labels", "Patient ID")
    )
    parts = pl.col("Finding Labels").str.split("|")
    known = {*CLASSES.values(), "No Finding"}
    strange = set(frame.select(parts.explode().unique()).to_series().to_list()) - known
    if strange:
        raise DataError(f"unknown labels in Data_Entry_2017: {sorted(map(str, strange))[:5]}")
    if test_only:
        names = find(ROOT, places, r"test_list.*\.txt").read_text(encoding="utf-8").split()
        frame = frame.filter(pl.col("Image Index").is_in(names))
    return frame.select(
        pl.col("Image Index").alias("image"),
        pl.col("Patient ID").alias("patient"),
        *(parts.list.contains(spelled).cast(pl.Int8).alias(asked) for asked, spelled in CLASSES.items()),
    )
