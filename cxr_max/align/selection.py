"""What may be trained on.

`clean` (the default) takes the official train split without the patients of any evaluation set found under the
user's roots; `all` takes everything, as the paper did, and marks run, checkpoint and every later table contaminated.
"""

import hashlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from cxr_max.align.losses import check_choice
from cxr_max.errors import CxrMaxWarning, DataError
from cxr_max.schema import canonical_split

TRAIN_ON = ("clean", "all")


@dataclass(frozen=True)
class Selection:
    """Instances to train on or to choose by, and why the others are not among them.

    Attributes:
        instance_ids: sorted.
        dropped: reason to number of instances.
        train_on: `clean` or `all`.
        evaluation_sets: names of the sets whose patients were looked for, sorted.
        contaminated: patients of evaluation sets, or of other splits, may be among them.
    """

    instance_ids: tuple[str, ...]
    dropped: Mapping[str, int]
    train_on: str
    evaluation_sets: tuple[str, ...]
    contaminated: bool

    @property
    def digest(self) -> str:
        """SHA-256 over the ids, for records that may not hold the ids themselves."""
        return hashlib.sha256("\n".join(self.instance_ids).encode()).hexdigest()


def select_instances(
    instances: pl.DataFrame | pl.LazyFrame,
    evaluation_subjects: Mapping[str, Collection[int]],
    *,
    train_on: str = "clean",
    split: str = "train",
) -> Selection:
    """Choose instances.

    Args:
        instances: the release's table, or anything with instance_id, subject_id and split.
        evaluation_subjects: name of an evaluation set to its patients; see `evaluation_subjects_of`.
        train_on: `clean`, or `all` (every split, every patient).
        split: `train` to train on, `validate` to choose checkpoints and settings by. Under `all` not read.

    Raises:
        UsageError: another `train_on`, or split `test`, which nothing is chosen by.
        DataError: nothing is left, or an instance occurs twice.
    """
    check_choice("train_on", train_on, TRAIN_ON)
    split = canonical_split(split)
    check_choice("split", split, ("train", "validate"))
    frame = instances.lazy().select("instance_id", "subject_id", "split").collect()
    if frame["instance_id"].is_duplicated().any():
        raise DataError("an instance occurs more than once in the table of instances")
    sets = tuple(sorted(evaluation_subjects))
    if train_on == "all":
        kept, dropped = frame, dict[str, int]()
    else:
        if not sets:
            warnings.warn(
                "no evaluation set was found under the roots; training patients cannot be kept apart from theirs",
                CxrMaxWarning,
                stacklevel=2,
            )
        kept, dropped = _clean(frame, evaluation_subjects, split)
    if not len(kept):
        raise DataError(f"no instance is left to train on of {len(frame)}; dropped: {dropped or 'none'}")
    return Selection(tuple(sorted(kept["instance_id"])), dropped, train_on, sets, contaminated=train_on == "all")


def evaluation_subjects_of(overlap: pl.DataFrame | pl.LazyFrame) -> dict[str, frozenset[int]]:
    """Patients per evaluation set from a join's table `overlap`; only those that are in the release."""
    rows = overlap.lazy().select("subject_id", "evaluation_sets").explode("evaluation_sets").drop_nulls().collect()
    return {
        str(name): frozenset(group["subject_id"])
        for (name,), group in rows.group_by("evaluation_sets", maintain_order=True)
    }


def _clean(
    frame: pl.DataFrame, evaluation_subjects: Mapping[str, Collection[int]], split: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows kept, and a count per reason; a row has one reason, the split before the patient."""
    other = frame.filter(pl.col("split") != split)
    dropped = {f"split {s}": n for s, n in sorted(other["split"].value_counts().iter_rows())}
    mine = frame.filter(pl.col("split") == split)
    patients = mine["subject_id"].to_list()
    inside = [", ".join(sorted(n for n, subjects in evaluation_subjects.items() if p in subjects)) for p in patients]
    reasons = pl.Series("reason", inside, dtype=pl.String)
    for names, n in sorted(reasons.filter(reasons != "").value_counts().iter_rows()):
        dropped[f"patient in {names}"] = n
    return mine.filter(reasons == ""), dropped
