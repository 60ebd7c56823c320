"""Which patients a model was trained on, from the instance ids of its checkpoint: scores are given without them too."""

import json
from collections.abc import Collection
from pathlib import Path

import polars as pl

from cxr_max import mimic
from cxr_max.data import open_release
from cxr_max.errors import DataError, MissingFileError
from cxr_max.evaluation.types import Context
from cxr_max.roots import MIMIC_ROOTS

TABLES = ("splits", "metadata")


def read(path: Path) -> tuple[str, ...]:
    """Training ids of a model from a `training.json`, or from a text file with one id a line.

    Raises:
        MissingFileError: no such file.
        DataError: not UTF-8, or JSON without `training_ids`.
    """
    if not path.is_file():
        raise MissingFileError(f"no file of training ids at {path}", next="--training training.json of the checkpoint")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        return tuple(str(i) for i in json.loads(text)["training_ids"])
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path.name} holds no training_ids") from e


def patients(ids: Collection[str] | None, context: Context) -> frozenset[str] | None:
    """The patients of the instances a model was trained on; None = not established.

    Args:
        ids: instance ids, which are image or study ids; None = not known, empty = never trained.
        context: a release, whose instances name their patients, or MIMIC-CXR roots with the split or metadata table.

    Returns:
        None also when the patient of a single id is unknown: half an overlap would look like a whole one.
    """
    if not ids:
        return None if ids is None else frozenset()
    known = _of_release(context) if context.release else _of_roots(context)
    found = [known.get(i) for i in ids]
    return None if any(p is None for p in found) else frozenset(p for p in found if p is not None)


def _of_release(context: Context) -> dict[str, str]:
    release = open_release(str(context.release))
    rows = release.scan("instances").select("instance_id", pl.col("subject_id").cast(pl.String)).collect()
    return dict(rows.iter_rows())


def _of_roots(context: Context) -> dict[str, str]:
    places = context.paths(*MIMIC_ROOTS)
    if not places:
        return {}
    root = mimic.open_root(*places)
    for table in TABLES:
        try:
            rows = getattr(root, table)().select("dicom_id", "study_id", pl.col("subject_id").cast(pl.String)).collect()
        except MissingFileError:
            continue
        by_study = zip(rows["study_id"].cast(pl.String), rows["subject_id"], strict=True)
        return {**dict(by_study), **dict(zip(rows["dicom_id"], rows["subject_id"], strict=True))}
    return {}
