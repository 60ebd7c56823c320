"""Teacher weights w_u for the alignment loss: per instance and teacher, mean 1, larger where a teacher drifts more.

w_u multiplies a negative, so a larger weight suppresses more. `agreement` uses no report. `reference` uses reports and
is therefore given for the train split only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from cxr_max.drift import per_teacher
from cxr_max.drift.bits import unpack
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.layout import build, layout_of
from cxr_max.drift.stats import consensus_strength, finding_alignment, outlier_score
from cxr_max.drift.stats._common import Floats, divide
from cxr_max.errors import DataError, UnknownNameError

_CHUNK = 4096


def given(encoded: Encoded, generation: int = 0) -> tuple[Any, Any]:
    """instances x teachers: whether there is a trajectory, and its row (-1 without)."""
    where = np.full((encoded.n_instances, len(encoded.vocabulary.teachers)), -1, dtype=np.int64)
    rows = np.flatnonzero(encoded.generation_T == generation)
    where[encoded.instance_T[rows], encoded.teacher_T[rows]] = rows
    return where >= 0, where


def outliers(encoded: Encoded, config: Config) -> tuple[Floats, Floats, Floats]:
    """Jaccard distance and robust z per instance and teacher, and consensus strength per instance.

    A refusal is a trajectory with no finding: its distance is that of the empty set.
    """
    layout = layout_of(encoded.vocabulary, level=config.level, unc=config.unc, mode=config.mode)
    words = build(encoded.findings, encoded.n_trajectories, layout).own
    has, where = given(encoded)
    distance, strength = np.full(has.shape, np.nan), np.full(len(has), np.nan)
    for start in range(0, len(has), _CHUNK):
        rows = slice(start, start + _CHUNK)
        sets = unpack(words[np.maximum(where[rows], 0)], layout.n_cells) & has[rows, :, None]
        distance[rows] = outlier_score.distances(sets, has[rows])
        strength[rows] = consensus_strength.compute(sets, has[rows])
    return distance, outlier_score.robust_z(distance), strength


def _normalised(raw: Floats, has: Any) -> Floats:
    """Mean 1 within each instance over the teachers that are there; 1 where nothing tells them apart."""
    known = np.where(has, np.nan_to_num(raw, nan=0.0), 0.0)
    n = has.sum(axis=1, keepdims=True)
    mean = known.sum(axis=1, keepdims=True) / np.maximum(n, 1)
    return np.where(has, np.where(mean > 0, divide(known, mean), 1.0), np.nan)


def _agreement(encoded: Encoded, config: Config) -> Floats:
    return outliers(encoded, config)[0] + 0.1


def _uniform(encoded: Encoded, config: Config) -> Floats:
    return np.ones(given(encoded)[0].shape)


def _teacher(encoded: Encoded, config: Config) -> Floats:
    distance = outliers(encoded, config)[0]
    defined = ~np.isnan(distance)
    mean = divide(np.where(defined, distance, 0.0).sum(axis=0), defined.sum(axis=0))
    return np.broadcast_to(np.nan_to_num(mean, nan=0.0) + 0.1, distance.shape)


def _reference(encoded: Encoded, config: Config) -> Floats:
    if not encoded.has_reference_I.any():
        raise DataError("weights of kind 'reference' need reports", next="cxr-max drift RELEASE --mimic-root PATH")
    scored = per_teacher.score(encoded, config)
    overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, encoded))
    wrong = 1.1 - finding_alignment.harmonic(np.nan_to_num(overlap.precision), np.nan_to_num(overlap.recall))
    has, where = given(encoded)
    return np.where(has, wrong[np.maximum(where, 0)], np.nan)


KINDS: dict[str, Callable[[Encoded, Config], Floats]] = {
    "agreement": _agreement, "uniform": _uniform, "teacher": _teacher, "reference": _reference,
}  # fmt: skip


def compute(encoded: Encoded, config: Config, kind: str = "agreement") -> pl.DataFrame:
    """Weights as rows instance_id, teacher, generation, weight, kind, uses_reports.

    Args:
        encoded: the release.
        config: level and uncertainty policy.
        kind: agreement (distance to the leave-one-out majority, plus .1), uniform, teacher (its mean over instances),
            reference (1.1 - F1 against the report; train split only).

    Raises:
        UnknownNameError: another kind.
        DataError: kind reference without reports or without train instances.
    """
    if kind not in KINDS:
        raise UnknownNameError.of("kind of weights", kind, KINDS)
    has, _ = given(encoded)
    weight = _normalised(KINDS[kind](encoded, config), has)
    if kind == "reference":
        usable = (encoded.split_I == "train") & encoded.has_reference_I
        if not usable.any():
            raise DataError("weights of kind 'reference' are for the train split, which is empty here")
        has = has & usable[:, None]
    i, u = np.nonzero(has)
    return pl.DataFrame(
        {
            "instance_id": encoded.instance_id[i].tolist(),
            "teacher": [encoded.vocabulary.teachers[k] for k in u],
            "generation": np.zeros(len(i), dtype=np.uint8),
            "weight": weight[i, u].astype(np.float32),
            "kind": [kind] * len(i),
            "uses_reports": [kind == "reference"] * len(i),
        },
        schema_overrides={
            "instance_id": pl.String,
            "teacher": pl.String,
            "kind": pl.String,
            "uses_reports": pl.Boolean,
        },
    )
