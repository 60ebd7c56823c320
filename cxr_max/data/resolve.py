"""Rows as read -> rows that fit together: looked up in MIMIC, one split a patient, one study an instance, unique keys.

Nothing here depends on the order of the rows: of two that contradict each other the same one stays, whichever file
it came from. Every row that goes is counted with its reason.
"""

from collections.abc import Sequence

import polars as pl

from cxr_max.data.ingest import Rejections
from cxr_max.schema import SPLITS

KEYS = ("instance_id", "teacher", "generation")
_MAX_GENERATIONS = 256


def look_up(frame: pl.DataFrame, images: pl.DataFrame, rejected: Rejections) -> pl.DataFrame:
    """Fill subject, study, split and view from the user's MIMIC tables.

    Args:
        frame: rows as `ingest` gives them.
        images: one row per image: dicom_id, study_id, subject_id, split, view (nullable).
        rejected: takes the rows the tables do not know or contradict.
    """
    by_image = images.select(
        pl.col("dicom_id").alias("instance_id"),
        pl.col("study_id", "subject_id").cast(pl.Int32).name.suffix("_mimic"),
        pl.col("split", "view").name.suffix("_mimic"),
    )
    by_study = images.group_by("study_id").agg(pl.col("subject_id", "split").first()).select(
        pl.format("s{}", "study_id").alias("instance_id"),
        pl.col("study_id", "subject_id").cast(pl.Int32).name.suffix("_mimic"),
        pl.col("split").name.suffix("_mimic"),
        pl.lit(None, pl.String).alias("view_mimic"),
    )  # fmt: skip
    known = pl.concat([by_image, by_study]).filter(pl.col("instance_id").is_in(frame["instance_id"].unique().implode()))
    joined = frame.join(known, on="instance_id", how="left", maintain_order="left")
    missing = pl.col("study_id_mimic").is_null()
    rejected.add_frame("not_in_mimic", joined.filter(missing))
    names = ("subject_id", "study_id", "split")
    differs = pl.any_horizontal((pl.col(n) != pl.col(f"{n}_mimic")).fill_null(False) for n in names)
    rejected.add_frame("contradicts_mimic", joined.filter(~missing & differs))
    filled = [pl.col(f"{n}_mimic").fill_null(pl.col(n)).alias(n) for n in (*names, "view")]
    return joined.filter(~missing & ~differs).with_columns(filled).select(frame.columns)


def settle(frame: pl.DataFrame, rejected: Rejections) -> pl.DataFrame:
    """Keep rows whose subject, study and split are known and agree within instance and patient.

    Where rows of an instance or a patient contradict each other, the reading most rows share stays; on a tie the
    first in sorted order, for splits test before validate before train, so that no evaluation patient is trained on.
    """
    for name, reason in (("study_id", "no_study"), ("subject_id", "no_study"), ("split", "no_split")):
        rejected.add_frame(reason, frame.filter(pl.col(name).is_null()))
        frame = frame.filter(pl.col(name).is_not_null())
    frame = _agree(
        frame, "instance_id", ("unit", "study_id", "subject_id", "dicom_ids"), "contradicts_instance", rejected
    )
    frame = _agree(frame, "study_id", ("subject_id",), "contradicts_instance", rejected)
    rank = pl.col("split").replace_strict({s: len(SPLITS) - i for i, s in enumerate(SPLITS)}, return_dtype=pl.Int8)
    frame = _agree(frame.with_columns(rank=rank), "subject_id", ("rank",), "contradicts_patient", rejected)
    return frame.drop("rank")


def _agree(frame: pl.DataFrame, by: str, names: Sequence[str], reason: str, rejected: Rejections) -> pl.DataFrame:
    """Keep of every group the rows that share the most frequent reading of `names`."""
    readings = frame.group_by(by, *names).agg(n=pl.len())
    if readings.height == readings[by].n_unique():
        return frame
    kept = readings.sort("n", *names, descending=[True] + [False] * len(names)).unique(
        by, keep="first", maintain_order=True
    )
    stays = kept.select(by, *names, stays=pl.lit(True))
    marked = frame.join(stays, on=[by, *names], how="left", nulls_equal=True, maintain_order="left")
    rejected.add_frame(reason, marked.filter(pl.col("stays").is_null()))
    return marked.filter(pl.col("stays")).drop("stays")


def number(frame: pl.DataFrame, rejected: Rejections, *, repeated: bool) -> pl.DataFrame:
    """Reject second texts, or number them as generations; the result is sorted by key.

    Several texts of a teacher for one instance are generations when the rows name a generation, or `repeated` says
    so: they are numbered from 0 in the order of (text hash, name of the generation). Otherwise the text with the
    smallest hash stays, whatever order the rows came in, and the others are duplicates.
    """
    pair = ("instance_id", "teacher")
    order = ("text_sha256", "generation", "prompt", "teacher_model", "teacher_snapshot", "view", "source", "line")
    frame = frame.sort(*pair, *order, nulls_last=True)
    several = pl.lit(repeated) | pl.col("generation").is_not_null().any().over(pair)
    same_text = pl.col("text_sha256").is_first_distinct().over(*pair, "generation") if frame.height else pl.lit(True)
    first = pl.int_range(pl.len()).over(pair) == 0
    frame = frame.with_columns(stays=pl.when(several).then(same_text).otherwise(first))
    rejected.add_frame("duplicate", frame.filter(~pl.col("stays")))
    frame = frame.filter("stays").with_columns(generation=pl.int_range(pl.len()).over(pair)).drop("stays")
    rejected.add_frame("too_many_generations", frame.filter(pl.col("generation") >= _MAX_GENERATIONS))
    return frame.filter(pl.col("generation") < _MAX_GENERATIONS).with_columns(pl.col("generation").cast(pl.UInt8))
