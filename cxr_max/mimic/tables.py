"""The tables of MIMIC-CXR and MIMIC-CXR-JPG as typed Polars LazyFrames, read by header, `.csv` or `.csv.gz`.

Label values are nullable: 1 positive, 0 negated, -1 uncertain, null not mentioned (an empty cell is no negative).
Splits keep MIMIC's spelling (`validate`). One label row describes a study, which may have several images.
"""

import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from cxr_max.errors import DataError, MissingFileError
from cxr_max.schema import FINDINGS, SPLITS

IDS: dict[str, pl.DataType] = {"dicom_id": pl.String(), "subject_id": pl.Int32(), "study_id": pl.Int32()}

METADATA: dict[str, pl.DataType] = {
    **IDS,
    "PerformedProcedureStepDescription": pl.String(),
    "ViewPosition": pl.String(),
    "Rows": pl.Int32(),
    "Columns": pl.Int32(),
    "StudyDate": pl.Int32(),
    "StudyTime": pl.Float64(),
    "ProcedureCodeSequence_CodeMeaning": pl.String(),
    "ViewCodeSequence_CodeMeaning": pl.String(),
    "PatientOrientationCodeSequence_CodeMeaning": pl.String(),
}

VIEW_OF_CODE: dict[str, str] = {
    "antero-posterior": "AP",
    "postero-anterior": "PA",
    "lateral": "LATERAL",
    "left lateral": "LL",
    "right lateral": "RL",
    "left anterior oblique": "LAO",
    "right anterior oblique": "RAO",
    "left posterior oblique": "LPO",
    "right posterior oblique": "RPO",
}
"""ViewCodeSequence_CodeMeaning -> ViewPosition, where the latter is missing (15,769 images)."""

VIEW_CLASSES: dict[str, str] = {"AP": "frontal", "PA": "frontal", "LATERAL": "lateral", "LL": "lateral"}
"""The dataset's own coarse map; every other view is `other`."""

LABEL_ALIASES: dict[str, str] = {"No Findings": "No Finding", "Airspace Opacity": "Lung Opacity"}
"""Spellings of NegBio and of the radiologist's file -> ours."""

_PROVIDERS = ("ordering", "attending", "resident")


def metadata(path: Path) -> pl.LazyFrame:
    """One row per image.

    Returns:
        The file's columns (`METADATA`) and: `StudyDateTime` (datetime in ms; dates are shifted to about 2100 to 2200,
        by one shift per patient; StudyTime 80556.875 is 08:05:56.875, its leading zero is lost in the file; null where
        either is missing or no time of day), `view` (ViewPosition, filled from ViewCodeSequence_CodeMeaning where
        empty), `view_source` (`ViewPosition`, `ViewCodeSequence` or null), `view_class` (frontal, lateral, other;
        null where `view` is).

    Raises:
        MissingFileError, DataError: not there, not readable, or a column is missing.
    """
    frame = scan(path, METADATA)
    position = pl.col("ViewPosition").str.strip_chars().replace("", None)
    coded = (
        pl.col("ViewCodeSequence_CodeMeaning")
        .str.strip_chars()
        .str.to_lowercase()
        .replace_strict(VIEW_OF_CODE, default=None, return_dtype=pl.String)
    )
    return frame.with_columns(
        _datetime().alias("StudyDateTime"),
        pl.coalesce(position, coded).alias("view"),
        pl.when(position.is_not_null())
        .then(pl.lit("ViewPosition"))
        .when(coded.is_not_null())
        .then(pl.lit("ViewCodeSequence"))
        .alias("view_source"),
    ).with_columns(
        pl.when(pl.col("view").is_not_null())
        .then(pl.col("view").replace_strict(VIEW_CLASSES, default="other", return_dtype=pl.String))
        .alias("view_class")
    )


def _datetime() -> pl.Expr:
    date, time = pl.col("StudyDate"), pl.col("StudyTime")
    whole = time.floor().cast(pl.Int64, strict=False)
    hour, minute, second = whole // 10_000, whole // 100 % 100, whole % 100
    valid = time.is_between(0, 235_960, closed="left") & (minute < 60) & (second < 60)
    milliseconds = ((hour * 60 + minute) * 60 + second) * 1000 + ((time - time.floor()) * 1000).round().cast(pl.Int64)
    day = date.cast(pl.String).str.to_date("%Y%m%d", strict=False).cast(pl.Datetime("ms"))
    return pl.when(valid).then(day + pl.duration(milliseconds=milliseconds, time_unit="ms"))


def splits(path: Path) -> pl.LazyFrame:
    """One row per image: dicom_id, study_id, subject_id, split.

    Raises:
        MissingFileError, DataError: as `metadata`; also for a split outside train, validate, test.
    """
    frame = scan(path, {**IDS, "split": pl.String()})

    return frame.map_batches(lambda rows: check_splits(rows, path), streamable=True)


def check_splits(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The rows themselves, when their column split (if it is among them) holds MIMIC's splits only.

    Raises:
        DataError: it does not.
    """
    if "split" in rows.columns and (wrong := rows["split"].is_in(SPLITS).not_().sum()):
        raise DataError(f"{path.name}: column split: {wrong} rows outside of {', '.join(SPLITS)}")
    return rows


def labels(
    path: Path, labeler: str, *, studies: pl.LazyFrame | None = None, only: pl.LazyFrame | None = None
) -> pl.LazyFrame:
    """One row per study: subject_id, study_id, labeler, then the 14 labels as Int8 (1, 0, -1, null).

    Args:
        path: the CheXpert, NegBio or radiologist file.
        labeler: goes into the column of that name.
        studies: study_id, subject_id: brings the subject_id that the radiologist's file lacks (null without it).
        only: study_id: gives the rows of these studies alone, and checks no other's values.

    Raises:
        MissingFileError, DataError: as `metadata`; also for a value outside 1, 0, -1 and empty.
    """
    names = _label_columns(path)
    ids = {"subject_id": pl.Int32(), "study_id": pl.Int32()}
    if "subject_id" not in header(path) and labeler == "radiologist":
        del ids["subject_id"]
    frame = scan(path, {**ids, **{written: pl.Float32() for written in names.values()}})
    if only is not None:
        frame = frame.join(only, on="study_id", how="semi")

    def check(rows: pl.DataFrame) -> pl.DataFrame:
        for written in names.values():
            values = rows[written]
            low, high = values.min(), values.max()
            if low is None or (low >= -1 and high <= 1 and (values == values.round()).all()):  # type: ignore[operator]
                continue
            wrong = values.is_in([1.0, 0.0, -1.0]).not_().sum()
            raise DataError(f"{path.name}: column {written}: {wrong} values outside of 1, 0, -1 and empty")
        return rows

    frame = frame.map_batches(check, streamable=True)
    if "subject_id" not in ids:
        joined = studies if studies is not None else pl.LazyFrame(schema={"study_id": pl.Int32, "subject_id": pl.Int32})
        frame = frame.join(joined, on="study_id", how="left", maintain_order="left")
    fourteen = [pl.col(written).cast(pl.Int8).alias(name) for name, written in names.items()]
    return frame.select("subject_id", "study_id", pl.lit(labeler).alias("labeler"), *fourteen)


def _label_columns(path: Path) -> dict[str, str]:
    """Our label name -> the file's spelling of it."""
    there = {LABEL_ALIASES.get(name, name): name for name in header(path)}
    return {name: there.get(name, name) for name in FINDINGS}


def records(path: Path) -> pl.LazyFrame:
    """`cxr-record-list`: dicom_id, subject_id, study_id, path."""
    return scan(path, {**IDS, "path": pl.String()})


def study_ids(path: Path) -> pl.LazyFrame:
    """Unique (study_id, subject_id) of any table that has both."""
    return scan(path, {"study_id": pl.Int32(), "subject_id": pl.Int32()}).unique(maintain_order=True)


def providers(path: Path) -> pl.LazyFrame:
    """`cxr-provider-list`: study_id and the ordering, attending and resident provider's id, null where not known.

    The file's headers are met long (`ordering_provider_id`) and short (`ordering`); the result has the long ones.
    """
    there = header(path)
    written = {f"{p}_provider_id": next((n for n in there if n.startswith(p)), f"{p}_provider_id") for p in _PROVIDERS}
    frame = scan(path, {"study_id": pl.Int32(), **{n: pl.String() for n in written.values()}})
    return frame.select("study_id", *(pl.col(n).alias(name) for name, n in written.items()))


def header(path: Path) -> list[str]:
    """Column names of a CSV file, plain or gzipped, in order.

    Raises:
        MissingFileError, DataError: not there, or no readable first line.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            line = file.readline(65_536).decode("utf-8-sig")
    except FileNotFoundError as e:
        raise MissingFileError(f"no file {path.name}") from e
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise DataError(f"{path.name} is not a readable CSV file: {type(e).__name__}", next="fetch it again") from e
    return [name.strip().strip('"') for name in line.rstrip("\r\n").split(",")]


def require_columns(path: Path, needed: Sequence[str]) -> list[str]:
    """The header of a file, checked to hold columns.

    Raises:
        DataError: names the file and each column it lacks, and those it has.
    """
    there = header(path)
    missing = [name for name in needed if name not in there]
    if missing:
        raise DataError(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(there)}",
            next="compare with the file of the PhysioNet release",
        )
    return there


def collect(*frames: pl.LazyFrame) -> list[pl.DataFrame]:
    """Collect frames of this module together, in parallel.

    Raises:
        DataError: a file's rows cannot be read as its types; without the cell that Polars would quote.
    """
    try:
        return pl.collect_all(frames)
    except (OSError, pl.exceptions.PolarsError) as e:
        told = re.search(r"[\w.-]+\.csv(?:\.gz)?: column [^:\n]+: \d+ [^\n]+", str(e))
        problem = told[0] if told else f"a table cannot be read as its documented types: {type(e).__name__}"
        raise DataError(problem, next="compare the tables with SHA256SUMS.txt: cxr-max mimic check") from None


def scan(path: Path, columns: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Scan the named columns of a CSV file, in the order of `columns`, whatever the file's order.

    Raises:
        MissingFileError, DataError: see `header` and `require_columns`; broken rows are reported on collecting.
    """
    there = require_columns(path, list(columns))
    try:
        frame = pl.scan_csv(
            path,
            with_column_names=lambda _: _distinct(there),
            schema_overrides=dict(columns),
            infer_schema=False,
            null_values=[""],
        )
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{path.name} is not a readable CSV file: {type(e).__name__}", next="fetch it again") from None
    return frame.select(*columns)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names made unique: a column we do not read may be there twice or have no name."""
    return [name if name and name not in names[:i] else f"{name}#{i}" for i, name in enumerate(names)]
