"""Which patients occur in evaluation sets built on MIMIC-CXR, so that nobody trains on whom they are judged by.

Sets: the official validate and test splits, the studies a radiologist labelled, MS-CXR-T and MS-CXR; each as far as
its files are under the roots.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError
from cxr_max.mimic import tables
from cxr_max.mimic.layout import EVALUATION_FILES, MimicRoot

SETS: tuple[str, ...] = ("mimic-cxr validate", "mimic-cxr test", "radiologist", *EVALUATION_FILES)

_SUBJECT = re.compile(r"\bp(\d{8})\b")
_DICOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")


def patients(root: MimicRoot, *, splits: pl.DataFrame | None = None) -> pl.DataFrame:
    """Patients of the evaluation sets under a root.

    Args:
        root: an open root.
        splits: subject_id, split of the rows outside train, when they were read already.

    Returns:
        subject_id, evaluation_sets (list of names from `SETS`, in that order); one row per patient in any.

    Raises:
        DataError: a set's file cannot be read, or does not tell its patients.
    """
    frames = [
        pl.DataFrame({"subject_id": _subjects(root, name, splits)}, schema={"subject_id": pl.Int32}).with_columns(
            pl.lit(name).alias("evaluation_sets")
        )
        for name in SETS
    ]
    return pl.concat(frames).group_by("subject_id", maintain_order=True).agg("evaluation_sets")


def _subjects(root: MimicRoot, name: str, splits: pl.DataFrame | None) -> pl.Series | list[int]:
    if name.startswith("mimic-cxr "):
        if splits is None:
            (splits,) = tables.collect(root.splits()) if root.has("split") else (_NO_SPLITS,)
        wanted = splits.filter(pl.col("split") == name.removeprefix("mimic-cxr "))
        return wanted["subject_id"].unique().sort()
    if name == "radiologist":
        if not root.has(name):
            return []
        (rows,) = tables.collect(root.labels(name))
        return rows["subject_id"].drop_nulls().unique().sort()
    return sorted({s for path in root.layout.evaluation.get(name, []) for s in _of_file(root, path)})


_NO_SPLITS = pl.DataFrame(schema={"subject_id": pl.Int32, "split": pl.String})


def _of_file(root: MimicRoot, path: Path) -> Iterable[int]:
    """Patients named in a file: by a column subject_id, by a path such as p10/p10002428/s55758034, or by dicom_id."""
    if path.suffix == ".csv":
        there = tables.header(path)
        if "subject_id" in there:
            (rows,) = tables.collect(tables.scan(path, {"subject_id": pl.Int32()}))
            return rows["subject_id"].drop_nulls().to_list()
    text = _text(path)
    subjects = {int(s) for s in _SUBJECT.findall(text)}
    if subjects:
        return subjects
    images = set(_DICOM.findall(text))
    for table, read in (("metadata", root.metadata), ("split", root.splits), ("records", root.records)):
        if images and root.has(table):
            (rows,) = tables.collect(read().filter(pl.col("dicom_id").is_in(images)).select("subject_id"))
            return rows["subject_id"].to_list()
    raise DataError(
        f"{path.name} names no patients: neither subject_id, nor paths, nor dicom_ids of a table under the roots",
        next="add the root of MIMIC-CXR-JPG's tables: --mimic-root PATH",
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            json.loads(text)
    except (OSError, ValueError) as e:
        raise DataError(f"{path.name} cannot be read: {type(e).__name__}", next="fetch it again") from None
    return text
