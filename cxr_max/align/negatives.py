"""Preference groups out of a release: which negatives, with which weights, and what was left out and why."""

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from cxr_max.align.losses import check_choice
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import DataError, UsageError
from cxr_max.schema import TABLES

KINDS = ("all", "drifting", "top_k", "no_refusals", "same_diagnoses")
WEIGHTS = ("none", "count", "drift", "table")
Key = tuple[str, str, int]
"""instance_id, teacher, generation."""


@dataclass(frozen=True)
class Choice:
    """Which negatives a group gets.

    Attributes:
        kind: `all` the teachers' trajectories; `drifting`, those whose outlier score is at least `threshold`;
            `top_k`, the k highest of it; `no_refusals`; `same_diagnoses`, a control: as many trajectories of other
            patients with the same diagnoses, drawn at random.
        weights: `none`, w = 1; `count`, w = 1 / N, so that studies with more teachers weigh no more; `drift`, the
            weights given to `preference_groups`; `table`, those of the table of preferences.
        threshold: robust z of `drifting`.
        k: of `top_k`, 1 and above.
        seed: of `same_diagnoses`; a draw depends on seed and instance alone.
    """

    kind: str = "all"
    weights: str = "none"
    threshold: float = 1.0
    k: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("negatives", self.kind, KINDS)
        check_choice("weights", self.weights, WEIGHTS)
        if self.k < 1:
            raise UsageError(f"k {self.k}; allowed: 1 and above")

    def identity(self) -> dict[str, Any]:
        """Kind, weights and the one setting the kind reads; choices of one identity give the same negatives."""
        reads = {"drifting": ("threshold",), "top_k": ("k",), "same_diagnoses": ("seed",)}.get(self.kind, ())
        return {name: getattr(self, name) for name in ("kind", "weights", *reads)}


class Chosen(NamedTuple):
    """Groups ready to be rendered.

    Attributes:
        groups: each with a positive and at least one negative.
        dropped: reason to number of groups left out.
        negatives_dropped: reason to number of negatives left out of groups.
    """

    groups: tuple[PreferenceGroup, ...]
    dropped: dict[str, int]
    negatives_dropped: dict[str, int]


class Tables(NamedTuple):
    """What groups are made of.

    Attributes:
        preferences: the release's table, of one strategy.
        instances: the release's table.
        trajectories: the release's table; read for `no_refusals` and by `trajectory_groups`.
        scores: instance_id, teacher, generation if there are several, and `z`: `DriftReport.outliers()`.
        weights: the same keys and `weight`: `DriftReport.weights(kind)`.
        images: instance to the path of its image; None trains on text alone.
    """

    preferences: pl.DataFrame | None = None
    instances: pl.DataFrame | None = None
    trajectories: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    weights: pl.DataFrame | None = None
    images: Mapping[str, str] | None = None


class _Negative(NamedTuple):
    teacher: str
    generation: int
    text: str
    weight: float | None


def preference_groups(tables: Tables, instance_ids: Collection[str], choice: Choice) -> Chosen:
    """One group per instance of the table of preferences that is among those selected.

    A negative with the same text as the positive is left out: its gradient would be nothing, its count not.

    Args:
        tables: preferences and instances, and what the choice reads.
        instance_ids: what may be trained on; see `selection.select_instances`.
        choice: negatives and weights.

    Raises:
        UsageError: a table the choice reads is missing.
        DataError: a weight that the choice asks for is missing.
    """
    preferences = _table(tables.preferences, "preferences", choice)
    wanted = set(instance_ids)
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    facts = _Facts(tables, choice)
    groups = []
    for row in preferences.sort("instance_id").iter_rows(named=True):
        instance = row["instance_id"]
        if instance not in wanted:
            dropped["not selected"] += 1
            continue
        group, reason = _group(row, facts, choice, left_out)
        if group is None:
            dropped[reason] += 1
        else:
            groups.append(group)
    absent = len(wanted - set(preferences["instance_id"]))
    if absent:
        dropped["no preference for the instance"] += absent
    return Chosen(tuple(groups), dict(dropped), dict(left_out))


class Rows(NamedTuple):
    """The table of preferences with the negatives of a choice; counts as in `Chosen`."""

    frame: pl.DataFrame
    dropped: dict[str, int]
    negatives_dropped: dict[str, int]


def preference_rows(tables: Tables, choice: Choice) -> Rows:
    """The rows of the table of preferences with the negatives a choice keeps, and their weights.

    Args:
        tables: preferences (every trajectory as rejected) and instances, and what the choice reads.
        choice: negatives and weights; with weights `none` the column is null.
    """
    facts = _Facts(tables, choice)
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    rows = []
    for row in _table(tables.preferences, "preferences", choice).sort("instance_id").iter_rows(named=True):
        kept, reason = _kept(row, facts, choice, left_out)
        if not kept:
            dropped[reason] += 1
            continue
        rejected = [{"teacher": n.teacher, "generation": n.generation, "trajectory": n.text} for n in kept]
        rows.append(row | {"rejected": rejected, "weights": _weights(row["instance_id"], kept, facts, choice)})
    return Rows(pl.DataFrame(rows, schema=TABLES["preferences"].polars()), dict(dropped), dict(left_out))


def trajectory_groups(tables: Tables, instance_ids: Collection[str], *, refusals: bool = True) -> Chosen:
    """Groups for supervised training: all trajectories of an instance, none of them a positive.

    Args:
        tables: trajectories, instances and images.
        instance_ids: what may be trained on.
        refusals: whether to train on texts without any image-specific assertion, as the paper did.
    """
    trajectories = _table(tables.trajectories, "trajectories", None)
    facts = _Facts(tables, Choice())
    wanted = set(instance_ids)
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    groups = []
    order = trajectories.sort("instance_id", "teacher", "generation")
    for (instance,), rows in order.group_by("instance_id", maintain_order=True):
        if instance not in wanted:
            dropped["not selected"] += 1
            continue
        keep = rows if refusals else rows.filter(pl.col("refusal").fill_null(False).not_())
        left_out["refusal"] += len(rows) - len(keep)
        image, missing = facts.image(str(instance))
        if missing or not len(keep):
            dropped["no image" if missing else "only refusals"] += 1
            continue
        groups.append(
            PreferenceGroup(
                instance_id=str(instance),
                diseases=tuple(keep["diseases"][0]),
                completions=tuple(keep["trajectory"]),
                sources=tuple(keep["teacher"]),
                prompt=keep["prompt"][0],
                image=image,
            )
        )
    return Chosen(tuple(groups), dict(dropped), {k: n for k, n in left_out.items() if n})


class _Facts:
    """Lookups by instance and trajectory."""

    def __init__(self, tables: Tables, choice: Choice) -> None:
        instances = _table(tables.instances, "instances", None)
        self.diseases = {i: tuple(d) for i, d in instances.select("instance_id", "diseases").iter_rows()}
        self.subject: dict[str, int] = dict(instances.select("instance_id", "subject_id").iter_rows())
        self._images = tables.images
        self.score: dict[Key, float] = {}
        self.weight: dict[Key, float] = {}
        self.refused: set[Key] = set()
        self.pool: dict[tuple[str, ...], list[tuple[int, _Negative]]] = {}
        if choice.kind in ("drifting", "top_k"):
            self.score = dict(_keyed(_table(tables.scores, "scores", choice), "z"))
        if choice.weights == "drift":
            self.weight = dict(_keyed(_table(tables.weights, "weights", choice), "weight"))
        if choice.kind == "no_refusals":
            trajectories = _table(tables.trajectories, "trajectories", choice)
            self.refused = {k for k, refusal in _keyed(trajectories, "refusal") if refusal}
        if choice.kind == "same_diagnoses":
            self.pool = self._pool(_table(tables.preferences, "preferences", choice))

    def image(self, instance: str) -> tuple[str | None, bool]:
        """The path of an instance's image, and whether one is wanted and missing."""
        if self._images is None:
            return None, False
        path = self._images.get(instance)
        return path, path is None

    def _pool(self, preferences: pl.DataFrame) -> dict[tuple[str, ...], list[tuple[int, _Negative]]]:
        """All teachers' trajectories by diagnoses, with their patient, in an order that is the data's alone."""
        pool: dict[tuple[str, ...], list[tuple[int, _Negative]]] = defaultdict(list)
        for row in preferences.sort("instance_id").iter_rows(named=True):
            instance = row["instance_id"]
            if instance in self.diseases:
                key = tuple(sorted(self.diseases[instance]))
                pool[key] += [(self.subject[instance], n) for n in _rejected(row)]
        return pool


def _group(
    row: dict[str, Any], facts: _Facts, choice: Choice, left_out: Counter[str]
) -> tuple[PreferenceGroup | None, str]:
    """A group, or None and the reason."""
    instance = row["instance_id"]
    kept, reason = _kept(row, facts, choice, left_out)
    if not kept:
        return None, reason
    return (
        PreferenceGroup(
            instance_id=instance,
            diseases=facts.diseases[instance],
            completions=(row["chosen"], *(n.text for n in kept)),
            sources=(row["strategy"], *(n.teacher for n in kept)),
            prompt=row["prompt"],
            weights=_weights(instance, kept, facts, choice),
            image=facts.image(instance)[0],
        ),
        "",
    )


def _kept(row: dict[str, Any], facts: _Facts, choice: Choice, left_out: Counter[str]) -> tuple[list[_Negative], str]:
    """The negatives of a row that a choice keeps; none of them and the reason when the row gives no group."""
    instance = row["instance_id"]
    if instance not in facts.diseases:
        return [], "not in the table of instances"
    if facts.image(instance)[1]:
        return [], "no image"
    if not row["chosen"] or not row["chosen"].strip():
        return [], "no positive"
    negatives = []
    for negative in _rejected(row):
        reason = "empty" if not negative.text.strip() else "same text as the positive"
        if reason == "empty" or negative.text == row["chosen"]:
            left_out[reason] += 1
        else:
            negatives.append(negative)
    return _choose(instance, negatives, facts, choice, left_out), "no negative"


def _choose(
    instance: str, negatives: list[_Negative], facts: _Facts, choice: Choice, left_out: Counter[str]
) -> list[_Negative]:
    """The negatives a choice keeps, in the order they came; the others are counted."""

    def score(n: _Negative) -> float:
        return facts.score.get((instance, n.teacher, n.generation), math.nan)

    if choice.kind == "same_diagnoses":
        return _control(instance, negatives, facts, choice)
    if choice.kind == "no_refusals":
        kept = [n for n in negatives if (instance, n.teacher, n.generation) not in facts.refused]
        left_out["refusal"] += len(negatives) - len(kept)
    elif choice.kind == "drifting":
        kept = [n for n in negatives if score(n) >= choice.threshold]
        left_out["outlier score undefined"] += sum(math.isnan(score(n)) for n in negatives)
        left_out["below the threshold"] += sum(score(n) < choice.threshold for n in negatives)
    elif choice.kind == "top_k":
        defined = [n for n in negatives if not math.isnan(score(n))]
        left_out["outlier score undefined"] += len(negatives) - len(defined)
        best = sorted(defined, key=lambda n: (-score(n), n.teacher, n.generation))[: choice.k]
        kept = [n for n in defined if n in best]
        left_out["not among the k"] += len(defined) - len(kept)
    else:
        kept = negatives
    for reason in [r for r, n in left_out.items() if not n]:
        del left_out[reason]
    return kept


def _control(instance: str, negatives: list[_Negative], facts: _Facts, choice: Choice) -> list[_Negative]:
    """As many trajectories of other patients with the same diagnoses, without repeats; fewer when there are fewer."""
    key = tuple(sorted(facts.diseases[instance]))
    others = [n for subject, n in facts.pool.get(key, ()) if subject != facts.subject[instance]]
    seed = hashlib.sha256(f"{choice.seed} {instance}".encode()).digest()
    return random.Random(seed).sample(others, min(len(negatives), len(others)))


def _weights(instance: str, kept: list[_Negative], facts: _Facts, choice: Choice) -> tuple[float, ...] | None:
    if choice.weights == "none":
        return None
    if choice.weights == "count":
        return (1 / len(kept),) * len(kept)
    if choice.weights == "table":
        found = [n.weight for n in kept]
    else:
        found = [facts.weight.get((instance, n.teacher, n.generation)) for n in kept]
    known = [w for w in found if w is not None and not math.isnan(w)]
    if len(known) != len(found):
        raise DataError(
            f"{len(found) - len(known)} of {len(found)} negatives of a group have no weight under {choice.weights!r}",
            next="use weights none or count, or weigh every teacher of the release",
        )
    return tuple(known)


def _rejected(row: dict[str, Any]) -> list[_Negative]:
    weights = row.get("weights") or [None] * len(row["rejected"])
    if len(weights) != len(row["rejected"]):
        raise DataError(f"a preference has {len(row['rejected'])} rejected trajectories and {len(weights)} weights")
    return [
        _Negative(r["teacher"], r["generation"], r["trajectory"], w)
        for r, w in zip(row["rejected"], weights, strict=True)
    ]


def _keyed(frame: pl.DataFrame, value: str) -> Iterator[tuple[Key, Any]]:
    """Rows by key; a table without generations is of generation 0."""
    if "generation" not in frame.columns:
        frame = frame.with_columns(pl.lit(0).alias("generation"))
    for instance, teacher, generation, x in frame.select("instance_id", "teacher", "generation", value).iter_rows():
        yield (instance, teacher, generation), x


def _table(frame: pl.DataFrame | None, name: str, choice: Choice | None) -> pl.DataFrame:
    if frame is None:
        asked = "" if choice is None else f", which negatives {choice.kind!r} with weights {choice.weights!r} read"
        raise UsageError(f"there is no table of {name}{asked}")
    return frame
