"""From a release and the user's roots to the groups of one stage, with an account of everything left out."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl
import torch

from cxr_max import drift, mimic, roots
from cxr_max.align import methods
from cxr_max.align.config import TEACHERS, TrainConfig, is_supervised
from cxr_max.align.negatives import Chosen, Tables, preference_groups, trajectory_groups
from cxr_max.align.selection import Selection, evaluation_subjects_of, select_instances
from cxr_max.align.types import GroupLogps, PreferenceGroup
from cxr_max.data import Release, open_release
from cxr_max.errors import DataError, UsageError
from cxr_max.plugins import blamed
from cxr_max.schema import Scannable
from cxr_max.teachers import TEACHER_IDS

MIMIC = (*roots.MIMIC_ROOTS, "ms-cxr-t", "ms-cxr")
"""Roots a join reads: images, splits, and the evaluation sets made of MIMIC-CXR's patients."""


class Gathered(NamedTuple):
    """The data of one stage.

    Attributes:
        groups: sorted by instance id; an order for training is drawn from them.
        selection: what was selected; its ids are those of `groups`.
        dropped: reason to number of instances.
        negatives_dropped: reason to number of trajectories.
        synthetic: release and roots are synthetic; otherwise every rule for restricted data holds.
        release: version, hash and name.
    """

    groups: tuple[PreferenceGroup, ...]
    selection: Selection
    dropped: dict[str, int]
    negatives_dropped: dict[str, int]
    synthetic: bool
    release: dict[str, str]


def gather(config: TrainConfig, hyper: Any) -> Gathered:
    """Read what one stage trains on.

    Args:
        config: the stage.
        hyper: the method's settings, from `config.validate`.

    Raises:
        UsageError: images are wanted and there is no MIMIC-CXR root; a table that the choice reads is missing.
        DataError: no instance is left, or no group that the method can train on.
    """
    release = open_release(config.release)
    data, images, subjects, synthetic = _joined(release, config)
    chosen_from = select_instances(release.scan("instances"), subjects, train_on=config.train_on)
    ids, dropped = _reduced(release, chosen_from, config)
    tables = _tables(release, data, images, config)
    if is_supervised(config.method):
        chosen = trajectory_groups(tables, ids, refusals=config.refusals)
    else:
        chosen = preference_groups(tables, ids, config.negatives)
    groups, unusable = _usable(chosen.groups, config.method, hyper)
    dropped += Counter(chosen_from.dropped) + Counter(_less(chosen, len(ids))) + unusable
    if not groups:
        raise DataError(
            f"no group is left to train on; left out: {dict(dropped) or 'nothing'}; "
            f"negatives left out: {chosen.negatives_dropped or 'none'}",
            next="a positive comes from cxr-max consensus, or from positives=TEACHER",
        )
    manifest = release.manifest
    return Gathered(
        groups=groups,
        selection=replace(chosen_from, instance_ids=tuple(sorted(g.instance_id for g in groups))),
        dropped=dict(dropped),
        negatives_dropped=chosen.negatives_dropped,
        synthetic=synthetic,
        release={"name": manifest["name"], "version": manifest["version"], "hash": manifest["release_hash"]},
    )


def _joined(
    release: Release, config: TrainConfig
) -> tuple[Scannable, Mapping[str, str] | None, dict[str, frozenset[int]], bool]:
    """Where to scan, an image per instance, patients of evaluation sets, and whether all of it is synthetic."""
    places = [r.path for r in roots.resolve(config.roots, mimic_roots=config.mimic_root) if r.name in MIMIC]
    synthetic = bool(release.manifest.get("synthetic"))
    if not places:
        if config.images:
            raise UsageError(
                "there is no MIMIC-CXR root to take images from", next="--mimic-root PATH, or images=false"
            )
        return release, None, {}, synthetic
    joined = mimic.join(release, list(dict.fromkeys(places)))
    images = None
    if config.images:
        rows = joined.matched.instances.select("instance_id", pl.col("images").list.first()).drop_nulls()
        images = dict(rows.iter_rows())
    return joined, images, evaluation_subjects_of(joined.scan("overlap")), synthetic and joined.synthetic


def _reduced(release: Release, selection: Selection, config: TrainConfig) -> tuple[tuple[str, ...], Counter[str]]:
    """The fraction and number of instances asked for; patients are ranked by a hash, so that fractions are nested."""
    rows = release.scan("instances").select("instance_id", "subject_id").collect()
    wanted = set(selection.instance_ids)
    subject_of = {i: s for i, s in rows.iter_rows() if i in wanted}
    ranked = sorted(set(subject_of.values()), key=lambda s: _rank(str(s)))
    patients = set(ranked[: max(1, round(config.fraction * len(ranked)))])
    kept = sorted((i for i, s in subject_of.items() if s in patients), key=_rank)
    dropped = Counter({"outside the fraction": len(wanted) - len(kept)})
    if config.limit is not None:
        dropped["beyond the limit"] = max(0, len(kept) - config.limit)
        kept = kept[: config.limit]
    return tuple(sorted(kept)), +dropped


def _rank(key: str) -> bytes:
    return hashlib.sha256(f"fraction {key}".encode()).digest()


def _tables(release: Release, data: Scannable, images: Mapping[str, str] | None, config: TrainConfig) -> Tables:
    trajectories = release.scan("trajectories").collect()
    if config.teachers:
        trajectories = trajectories.filter(pl.col("teacher").is_in(config.teachers))
    instances = release.scan("instances").collect()
    scores, weights = _drift(data, config)
    rest = {"instances": instances, "scores": scores, "weights": weights, "images": images}
    positives = config.positives
    if positives == TEACHERS:
        return Tables(trajectories=trajectories, **rest)
    one_teacher = isinstance(positives, tuple) or positives in TEACHER_IDS
    names = positives if isinstance(positives, tuple) else (positives,)
    supervised = is_supervised(config.method)
    if one_teacher and supervised:
        return Tables(trajectories=trajectories.filter(pl.col("teacher").is_in(names)), **rest)
    frame = _against_the_others(trajectories, names[0]) if one_teacher else _of_strategy(release, names[0], config)
    if supervised:
        trajectories = _as_trajectories(frame, instances)
    return Tables(preferences=frame, trajectories=trajectories, **rest)


def _against_the_others(trajectories: pl.DataFrame, teacher: str) -> pl.DataFrame:
    """A table of preferences with one teacher's trajectory as the positive, all others' as negatives."""
    first = pl.col("generation") == 0
    mine = trajectories.filter((pl.col("teacher") == teacher) & first)
    rejected = pl.struct("teacher", "generation", "trajectory").alias("rejected")
    others = (
        trajectories.filter(pl.col("teacher") != teacher)
        .sort("instance_id", "teacher", "generation")
        .group_by("instance_id", maintain_order=True)
        .agg(rejected)
    )
    chosen = mine.select("instance_id", pl.lit(teacher).alias("strategy"), "prompt", chosen="trajectory")
    return chosen.join(others, on="instance_id").with_columns(pl.lit(None).alias("weights"))


def _of_strategy(release: Release, strategy: str, config: TrainConfig) -> pl.DataFrame:
    """The rows of one consensus strategy in the release's table of preferences."""
    if "preferences" not in release.tables:
        raise UsageError(
            f"no positive: the release has no table of preferences, and positives are {strategy!r}",
            next=f"cxr-max consensus RELEASE --strategy {strategy} --out DIR --version X.Y.Z, then train on DIR",
        )
    rows: pl.DataFrame = release.scan("preferences").collect()
    frame = rows.filter(pl.col("strategy") == strategy)
    if not len(frame):
        known = ", ".join(sorted(rows["strategy"].unique())) or "none"
        raise UsageError(f"no positive: the table of preferences holds strategies {known}, not {strategy!r}")
    if not config.teachers:
        return frame
    kept = [[j for j, r in enumerate(row) if r["teacher"] in config.teachers] for row in frame["rejected"].to_list()]
    weights = frame["weights"].to_list()
    rejected = [[row[j] for j in js] for row, js in zip(frame["rejected"].to_list(), kept, strict=True)]
    return frame.with_columns(
        pl.Series("rejected", rejected, dtype=frame.schema["rejected"]),
        pl.Series(
            "weights",
            [None if w is None else [w[j] for j in js] for w, js in zip(weights, kept, strict=True)],
            dtype=frame.schema["weights"],
        ),
    )


def _as_trajectories(preferences: pl.DataFrame, instances: pl.DataFrame) -> pl.DataFrame:
    """Positives alone, as rows for supervised training."""
    rows = preferences.filter(pl.col("chosen").str.strip_chars() != "")
    return rows.join(instances.select("instance_id", "diseases"), on="instance_id").select(
        "instance_id", "prompt", "diseases", teacher="strategy", generation=pl.lit(0), trajectory="chosen",
        refusal=pl.lit(False),
    )  # fmt: skip


def _drift(data: Scannable, config: TrainConfig) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Outlier scores and weights of the drift analysis, where the choice of negatives reads them."""
    scored, weighed = config.negatives.kind in ("drifting", "top_k"), config.negatives.weights == "drift"
    if not (scored or weighed):
        return None, None
    settings = drift.config.Config()
    encoded = drift.encode(data, settings)
    scores = weights = None
    if scored:
        _, z, _ = drift.weights.outliers(encoded, settings)
        i, u = drift.weights.given(encoded)[0].nonzero()
        teachers = [encoded.vocabulary.teachers[k] for k in u]
        scores = pl.DataFrame({"instance_id": encoded.instance_id[i].tolist(), "teacher": teachers, "z": z[i, u]})
    if weighed:
        weights = drift.weights.compute(encoded, settings)
    return scores, weights


def _usable(
    groups: Sequence[PreferenceGroup], method: str, hyper: Any
) -> tuple[tuple[PreferenceGroup, ...], Counter[str]]:
    """Groups the method takes: what its `select` keeps and its loss is defined on."""
    module = methods.get(method)
    kept: list[PreferenceGroup] = []
    dropped: Counter[str] = Counter()
    for group in groups:
        with blamed(module):
            selected = module.select(group, hyper) if hasattr(module, "select") else group
        if selected is None:
            dropped[f"left out by {method}"] += 1
            continue
        try:
            methods.units(module, blank([selected]), hyper)
        except DataError as error:
            dropped[error.problem] += 1
        else:
            kept.append(selected)
    return tuple(kept), dropped


def blank(groups: Sequence[PreferenceGroup], n_tokens: int = 1) -> GroupLogps:
    """Groups as a loss sees them before any model ran: masks and weights are there, log-probabilities are 0."""
    shape = len(groups), max(len(g.completions) for g in groups)
    mask_BK = torch.tensor([[k < len(g.completions) for k in range(shape[1])] for g in groups])
    log_w_BK = None
    if any(g.weights is not None for g in groups):
        log_w_BK = torch.zeros(shape)
        for i, g in enumerate(groups):
            if g.weights is not None:
                log_w_BK[i, 1 : len(g.completions)] = torch.tensor(g.weights).log()
    return with_zeros(mask_BK, mask_BK.long() * n_tokens, log_w_BK)


def with_zeros(mask_BK: torch.Tensor, n_tokens_BK: torch.Tensor, log_w_BK: torch.Tensor | None) -> GroupLogps:
    """Every field a loss may read, log-probabilities 0."""
    zeros_BK = torch.zeros(mask_BK.shape)
    tokens_BKT = torch.zeros(*mask_BK.shape, max(1, int(n_tokens_BK.max())))
    return GroupLogps(
        policy_BK=zeros_BK,
        n_tokens_BK=n_tokens_BK,
        mask_BK=mask_BK,
        reference_BK=zeros_BK,
        log_w_BK=log_w_BK,
        token_policy_BKT=tokens_BKT,
        token_reference_BKT=tokens_BKT,
        token_mask_BKT=torch.arange(tokens_BKT.shape[-1]) < n_tokens_BK[..., None],
        step_BKT=torch.zeros(tokens_BKT.shape, dtype=torch.long),
    )


def _less(chosen: Chosen, n: int) -> dict[str, int]:
    """Reasons for which groups were left out, less those instances that were never selected."""
    return {reason: count for reason, count in chosen.dropped.items() if reason != "not selected" and n}
