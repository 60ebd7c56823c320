"""MS-CXR-T 1.0.0: progression of five findings on pairs of MIMIC-CXR images, one row a pair.

Despite their names `dicom_id` and `previous_dicom_id` hold paths without an extension; the last part is the id.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError
from cxr_max.evaluation.sets.files import find, read_csv

ROOT = "ms-cxr-t"
FINDINGS: dict[str, str] = {
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Pleural Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
"""Label name -> prefix of its columns."""
PROGRESSIONS: tuple[str, ...] = ("improving", "stable", "worsening")
_IDS = ("dicom_id", "previous_dicom_id", "subject_id", "study_id", "previous_study_id")


def pairs(places: Sequence[Path]) -> pl.DataFrame:
    """One row a pair: dicom_id, previous_dicom_id, subject_id, study_id, previous_study_id, and a progression (or
    null = not annotated) for each finding, under its label name.

    Raises:
        MissingFileError, DataError: no file, a missing column, or a value outside improving, stable, worsening.
    """
    path = find(ROOT, places, r"MS_CXR_T_temporal_image_classification.*\.csv")
    frame = read_csv(path, (*_IDS, *(f"{c}_progression" for c in FINDINGS.values())))
    chosen = frame.select(
        *(pl.col(c).str.split("/").list.last().str.replace(r"\.(dcm|jpg)$", "") for c in _IDS[:2]),
        *(pl.col(c).str.replace(r"^[ps]", "").cast(pl.Int32, strict=False) for c in _IDS[2:]),
        *(pl.col(f"{c}_progression").str.to_lowercase().alias(name) for name, c in FINDINGS.items()),
    )
    for name in FINDINGS:
        strange = set(chosen[name].drop_nulls().unique()) - set(PROGRESSIONS)
        if strange:
            raise DataError(f"{path.name}: {name} has {sorted(strange)[:3]}; allowed: {', '.join(PROGRESSIONS)}, empty")
    if chosen.select(pl.any_horizontal(pl.col(*_IDS).is_null().any())).item():
        raise DataError(f"{path.name}: an id is empty or not a number")
    return chosen
