"""What a join found and what it did not: counts, keys, and how far the prompted diagnoses agree with the label rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from cxr_max.schema import FINDINGS

AGREEMENT: tuple[str, ...] = ("equal", "subset", "superset", "conflicting", "uncertain", "No Finding", "empty")
IMAGE: tuple[str, ...] = ("matched", "partial", "missing", "ambiguous", "contradicting")
IDS: tuple[str, ...] = ("agree", "unlisted", "ambiguous", "contradicting", "unchecked")
SPLIT: tuple[str, ...] = ("agree", "differs", "unlisted", "unchecked")
REPORT: tuple[str, ...] = ("present", "missing", "contradicting")
LABEL: tuple[str, ...] = ("present", "all_empty", "missing", "ambiguous", "contradicting", "unchecked")
HASH: tuple[str, ...] = ("ok", "mismatch", "unlisted", "unreadable", "unchecked")

STATUSES: dict[str, tuple[str, ...]] = {
    "image_status": IMAGE,
    "id_status": IDS,
    "split_status": SPLIT,
    "report_status": REPORT,
    "label_status": LABEL,
    "hash_status": HASH,
    "agreement": AGREEMENT,
}
"""Each status column of a join and its values.

image_status: matched = every image of the instance lies on disk; partial = some; ambiguous, contradicting = its ids
    are.
id_status: the MIMIC tables give each dicom_id the release's subject and study (agree), another (contradicting), more
    than one (ambiguous), none (unlisted), or there is no table (unchecked).
label_status: all_empty = a row without any label; ambiguous = two rows that differ.
hash_status: the worst over the images and the report of an instance; unchecked unless asked for.
agreement: see `agreement`; null where there is no one label row.

Nothing of an instance whose ids are ambiguous or contradicting is joined: neither image nor report nor labels.
"""

_BITS = {name: 1 << i for i, name in enumerate(FINDINGS)}
_UNKNOWN = 1 << len(FINDINGS)


@dataclass(frozen=True)
class Group:
    """Instances that share an outcome.

    Attributes:
        count: number of instances.
        keys: their instance_ids.
    """

    count: int
    keys: pl.Series


def agreement(rows: pl.DataFrame) -> pl.Series:
    """Class of agreement of the prompted diagnoses D with a label row whose positives are P.

    equal: D = P. subset: D lies within P. No Finding: the row says No Finding and D names something outside of P.
    conflicting: the row negates a name of D, or each side has a name the other has not. uncertain: a name of D is
    uncertain in the row (and none negated). superset: P lies within D. empty: the row has no label at all. The first
    that holds, in this order after `empty`: equal, subset, No Finding, negated, uncertain, superset, conflicting.

    Args:
        rows: diseases (list of names in any case; an unknown name is in no row), `label_status` and the 14 labels.

    Returns:
        One class per row; null where `label_status` is neither present nor all_empty.
    """

    def mask(value: int) -> pl.Expr:
        return pl.sum_horizontal((pl.col(f) == value).fill_null(False).cast(pl.Int32) * bit for f, bit in _BITS.items())

    masks = rows.select("label_status", mask(1).alias("P"), mask(0).alias("N"), mask(-1).alias("U")).with_columns(
        _prompted(rows)
    )
    d, p, none = pl.col("D"), pl.col("P"), _BITS["No Finding"]
    return masks.select(
        pl.when(pl.col("label_status") == "all_empty")
        .then(pl.lit("empty"))
        .when(pl.col("label_status") != "present")
        .then(None)
        .when(d == p)
        .then(pl.lit("equal"))
        .when(d & ~p == 0)
        .then(pl.lit("subset"))
        .when(p & none != 0)
        .then(pl.lit("No Finding"))
        .when(d & pl.col("N") != 0)
        .then(pl.lit("conflicting"))
        .when(d & pl.col("U") != 0)
        .then(pl.lit("uncertain"))
        .when(p & ~d == 0)
        .then(pl.lit("superset"))
        .otherwise(pl.lit("conflicting"))
        .alias("agreement")
    )["agreement"]


def _prompted(rows: pl.DataFrame) -> pl.Series:
    """Bit mask of the prompted diagnoses of each row."""
    names = {name.lower(): bit for name, bit in _BITS.items()}
    prompted = (
        rows.select(pl.int_range(pl.len()).alias("row"), pl.col("diseases"))
        .explode("diseases")
        .drop_nulls("diseases")
        .with_columns(
            pl.col("diseases")
            .str.strip_chars()
            .str.to_lowercase()
            .replace_strict(names, default=_UNKNOWN, return_dtype=pl.Int32)
            .alias("bit")
        )
        .unique(["row", "bit"])
        .group_by("row")
        .agg(pl.col("bit").sum().alias("D"))
    )
    masks = (
        rows.select(pl.int_range(pl.len()).alias("row"))
        .join(prompted, on="row", how="left", maintain_order="left")
        .select(pl.col("D").fill_null(0))
    )
    return masks["D"]


@dataclass(frozen=True)
class Coverage:
    """Outcome of a join, for every instance and every trajectory of the release.

    Attributes:
        instances: one row per instance: instance_id, subject_id, study_id, split, the columns of `STATUSES` and
            `evaluation_sets`. Class source.
        bad_tables: names of tables and archives whose hash is wrong (only after `verify`).
        rows: the release's trajectories.
    """

    instances: pl.DataFrame
    bad_tables: tuple[str, ...]
    rows: pl.LazyFrame

    @cached_property
    def trajectories(self) -> pl.DataFrame:
        """One row per split, teacher, status column (`what`) and `value`, with the number of trajectories (`rows`).

        The value `no instance row` counts trajectories whose instance the release lacks.
        """
        return _count(self.rows, self.instances)

    def group(self, what: str, *values: str) -> Group:
        """Instances whose status `what` is one of `values`."""
        keys = self.instances.filter(pl.col(what).is_in(values))["instance_id"]
        return Group(keys.len(), keys)

    @property
    def matched(self) -> Group:
        """All images are there and no id contradicts."""
        return self.group("image_status", "matched")

    @property
    def missing(self) -> Group:
        """An image is not on disk."""
        return self.group("image_status", "missing", "partial")

    @property
    def ambiguous(self) -> Group:
        """The MIMIC tables have more than one study for an image, or more than one label row for the study."""
        keys = self.instances.filter((pl.col("id_status") == "ambiguous") | (pl.col("label_status") == "ambiguous"))[
            "instance_id"
        ]
        return Group(keys.len(), keys)

    @property
    def contradicting(self) -> Group:
        """The release and the MIMIC tables disagree on the subject or study of an image."""
        return self.group("id_status", "contradicting")

    @property
    def bad_hash(self) -> Group:
        """A file differs from SHA256SUMS.txt (or cannot be read); empty unless verified."""
        return self.group("hash_status", "mismatch", "unreadable")

    @property
    def sound(self) -> bool:
        """No id contradicts, none is ambiguous, no hash differs; what is merely missing does not count."""
        return not (self.contradicting.count or self.ambiguous.count or self.bad_hash.count or self.bad_tables)

    @property
    def label_agreement(self) -> dict[str, Group]:
        """Class of `AGREEMENT` -> instances; `no label row` for those without one label row."""
        groups = {value: self.group("agreement", value) for value in AGREEMENT}
        keys = self.instances.filter(pl.col("agreement").is_null())["instance_id"]
        return {**groups, "no label row": Group(keys.len(), keys)}

    def counts(self) -> dict[str, Any]:
        """Everything as numbers, without any id."""
        by_status = {}
        for what, values in STATUSES.items():
            have = dict(self.instances[what].value_counts().iter_rows())
            by_status[what] = {v: have[v] for v in values if v in have}
            if have.get(None):
                by_status[what]["no label row"] = have[None]
        overlap = self.instances["evaluation_sets"].explode().drop_nulls().value_counts().sort("evaluation_sets")
        return {
            "instances": self.instances.height,
            "trajectories": int(self.trajectories.filter(pl.col("what") == "image_status")["rows"].sum()),
            **by_status,
            "evaluation_sets": dict(overlap.iter_rows()),
            "bad_tables": list(self.bad_tables),
            "by_split_and_teacher": self.trajectories.to_dicts(),
        }


def _count(trajectories: pl.LazyFrame, instances: pl.DataFrame) -> pl.DataFrame:
    statuses = list(STATUSES)
    filled = instances.lazy().select("instance_id", *(pl.col(s).fill_null("no label row") for s in statuses))
    joined = trajectories.select("instance_id", "split", "teacher").join(filled, on="instance_id", how="left")
    counted = (
        joined.group_by("split", "teacher", *statuses)
        .agg(pl.len().alias("rows"))
        .unpivot(statuses, index=["split", "teacher", "rows"], variable_name="what", value_name="value")
        .with_columns(pl.col("value").fill_null("no instance row"))
        .group_by("split", "teacher", "what", "value")
        .agg(pl.col("rows").sum())
        .sort("split", "teacher", "what", "value")
    )
    return counted.select("split", "teacher", "what", "value", "rows").collect()
