"""Rows as read -> rows that fit together: looked up in MIMIC, one split a patient, one study an instance, unique keys.

Nothing here depends on the order of the rows: of two that contradict each other the same one stays, whichever file
it came from. Every row that goes is counted with its reason.
"""

from collections.abc import Sequence

import polars as pl

from cxr_max.data.ingest import Rejections
from cxr_max.schema import SPLITS, TABLES

IMPORTED = "imported"
"""Strategy of preference pairs that name none."""

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
    # A row that stands for a trajectory itself goes before one that only a preference pair tells of.
    frame = frame.sort(*pair, pl.col("chosen").is_not_null(), *order, nulls_last=True)
    several = pl.lit(repeated) | pl.col("generation").is_not_null().any().over(pair)
    same_text = pl.col("text_sha256").is_first_distinct().over(*pair, "generation") if frame.height else pl.lit(True)
    first = pl.int_range(pl.len()).over(pair) == 0
    frame = frame.with_columns(stays=pl.when(several).then(same_text).otherwise(first))
    # A pair whose rejected answer does not stay is counted when pairs are matched.
    rejected.add_frame("duplicate", frame.filter(~pl.col("stays") & pl.col("chosen").is_null()))
    frame = frame.filter("stays").with_columns(generation=pl.int_range(pl.len()).over(pair)).drop("stays")
    rejected.add_frame("too_many_generations", frame.filter(pl.col("generation") >= _MAX_GENERATIONS))
    return frame.filter(pl.col("generation") < _MAX_GENERATIONS).with_columns(pl.col("generation").cast(pl.UInt8))


def split_pairs(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that are trajectories, those that only pairs tell of among them; and the pairs."""
    text = ("instance_id", "teacher", "text_sha256")
    pairs = frame.filter(pl.col("chosen").is_not_null())
    plain = frame.filter(pl.col("chosen").is_null())
    if pairs.is_empty():
        return plain, pairs
    told = pairs.filter(pl.col("teacher") != "").join(plain, on=text, how="anti")
    order = ("prompt", "teacher_model", "view", "generation", "source", "line")
    told = told.sort(*text, *order, nulls_last=True).unique(text, keep="first", maintain_order=True)
    return pl.concat([plain, told]), pairs


def preferences(
    pairs: pl.DataFrame, trajectories: pl.DataFrame, rejected: Rejections
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Preference pairs -> the tables consensus and preferences.

    The rejected answer is found among the instance's trajectories by its text; the pairs of an instance and strategy
    make one group of a positive and N negatives.

    Args:
        pairs: rows with `chosen`, as `split_pairs` gives them.
        trajectories: numbered trajectories.
        rejected: takes pairs whose rejected answer is no trajectory, and those that prefer another text.
    """
    pairs = pairs.with_columns(pl.col("strategy").fill_null(IMPORTED))
    pairs = _agree(
        pairs.with_columns(group=pl.struct("instance_id", "strategy")),
        "group",
        ("chosen",),
        "contradicts_instance",
        rejected,
    )
    known = trajectories.select("instance_id", "text_sha256", "generation", by="teacher")
    same = (pl.col("teacher") == "") | (pl.col("teacher") == pl.col("by"))
    matched = pairs.drop("generation").join(known, on=("instance_id", "text_sha256"), how="left").filter(
        same | pl.col("by").is_null()
    )  # fmt: skip
    lost = pairs.join(matched.filter(pl.col("by").is_not_null()), on=("source", "line"), how="anti")
    rejected.add_frame("unmatched_rejected", lost)
    groups = (
        matched.filter(pl.col("by").is_not_null())
        .unique(("instance_id", "strategy", "by", "generation"))
        .sort("by", "generation")
        .group_by("instance_id", "strategy", maintain_order=True)
        .agg(
            pl.col("prompt").min(),
            pl.col("chosen").first(),
            rejected=pl.struct(pl.col("by").alias("teacher"), "generation", "trajectory"),
        )
        .sort("instance_id", "strategy")
    )
    chosen = groups.select(
        "instance_id",
        "strategy",
        pl.col("chosen").alias("trajectory"),
        pl.lit([], pl.List(pl.String)).alias("supported_by"),
        pl.lit([], TABLES["consensus"].polars()["support"]).alias("support"),
        pl.lit('{"imported": true}').alias("recipe"),
    )
    weights = pl.lit(None, pl.List(pl.Float32)).alias("weights")
    return chosen, groups.with_columns(weights).select(TABLES["preferences"].names)
