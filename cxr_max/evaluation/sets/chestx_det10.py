"""ChestX-Det10: image-level classes from the boxes of its test file; empty lists mean no finding."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError
from cxr_max.evaluation.sets.files import find

ROOT = "chestx-det10"
CLASSES: tuple[str, ...] = (
    "Atelectasis", "Calcification", "Consolidation", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pneumothorax",
)  # fmt: skip


def labels(places: Sequence[Path]) -> pl.DataFrame:
    """One row an image: image, patient (the image itself: the set has no patients), ten classes as 1 or 0.

    Raises:
        MissingFileError, DataError: no test.json, not of the published form, or an unknown class.
    """
    path = find(ROOT, places, r"test\.json")
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(r["file_name"]), set(r["syms"])) for r in records]
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path.name} is not a list of records with file_name and syms") from e
    strange = {s for _, syms in rows for s in syms} - set(CLASSES)
    if strange:
        raise DataError(f"unknown classes in {path.name}: {sorted(map(str, strange))[:5]}")
    schema = {"image": pl.String, "patient": pl.String, **dict.fromkeys(CLASSES, pl.Int8)}
    return pl.DataFrame([(n, n, *(int(c in syms) for c in CLASSES)) for n, syms in rows], schema=schema, orient="row")
