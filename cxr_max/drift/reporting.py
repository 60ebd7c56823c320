"""The whole report: encode, score, compare, test, and put the frames together."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Unpack

import numpy as np
import polars as pl

import cxr_max
from cxr_max import findings as finding_rules
from cxr_max.drift import compare, families, parts, reading, states, twosample
from cxr_max.drift.config import Config, Options, from_options
from cxr_max.drift.encoded import Encoded, from_arrays, to_arrays
from cxr_max.drift.extra import Extra
from cxr_max.drift.result import DriftReport, frame, signature
from cxr_max.drift.stages import Arrays, Store
from cxr_max.progress import track_weighted
from cxr_max.schema import Scannable

_NUMBERS = {
    "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "standard_error": pl.Float64, "n": pl.Int64,
    "n_undefined": pl.Int64, "n_patients": pl.Int64, "nan_draws": pl.Int64,
}  # fmt: skip
_SETTING = dict.fromkeys(("section", "level", "unc", "mode", "averaging", "interval", "by", "group", "note"), pl.String)
TEACHERS = {"teacher": pl.String, "metric": pl.String, "finding": pl.String, **_NUMBERS, **_SETTING}
PAIRS = {
    "teacher_a": pl.String, "teacher_b": pl.String, "metric": pl.String, "finding": pl.String, "coding": pl.String,
    "text": pl.String, **_NUMBERS, "effect": pl.Float64, "smallest_detectable": pl.Float64, "note": pl.String,
}  # fmt: skip
FINDING = {"finding": pl.String, "teacher": pl.String, "coding": pl.String, **TEACHERS}
STEPS = {"view": pl.String, "series": pl.String, "teacher": pl.String, "bin": pl.Int64, **_NUMBERS}
TESTS = {
    "family": pl.String, "test": pl.String, "teacher_a": pl.String, "teacher_b": pl.String, "metric": pl.String,
    "finding": pl.String, "view": pl.String, "bin": pl.Int64, "statistic": pl.Float64, "effect": pl.Float64,
    "p": pl.Float64, "p_adjusted": pl.Float64, "correction": pl.String, "smallest_detectable": pl.Float64,
    "n": pl.Int64, "n_patients": pl.Int64, "note": pl.String,
}  # fmt: skip
NO_REFERENCE = (
    "no reports: precision, recall, similarity, echo, matched shuffle, grounding and flips need a MIMIC-CXR root"
)
NOISE = "one generation per teacher: disagreement between teachers cannot be told from decoding noise"


def report(data: Scannable, *, against: Scannable | None = None, **options: Unpack[Options]) -> DriftReport:
    """How the teachers of a release drift apart.

    Args:
        data: a release (everything that needs no report), a join, or `from_texts`.
        against: an older release; what changed on the instances both hold.
        options: teachers, split, section, level, unc, mode, similarity, draws, seed, limit, embedding_n, by,
            permutations, shuffles, bins, hierarchy, jobs; see `config.Config`.

    Raises:
        DataError: a needed table is missing or nothing is left.
        UnknownNameError: an option outside what is allowed.
    """
    return staged(data, against, from_options(options), Store())


def staged(data: Scannable, against: Scannable | None, config: Config, store: Store) -> DriftReport:
    """`report`, with the result of each stage kept in `store`: a second call goes on where the first was killed.

    Raises:
        DataError: a needed table is missing or nothing is left.
        UnknownNameError: a teacher that does not occur.
    """

    def encode() -> Arrays:
        return to_arrays(reading.encode(data, config, store=store))

    encoded = from_arrays(store.arrays("encoded", encode))
    extra = store.extra("two-sample", lambda: twosample.compute(data, encoded, config))
    if against is not None:
        extra = extra + store.extra("against", lambda: compare.compute(data, against, config, store))
    return from_encoded(encoded, config, data.manifest, extra, store)


def from_encoded(
    encoded: Encoded,
    config: Config,
    manifest: Mapping[str, Any],
    extra: Extra | None = None,
    store: Store | None = None,
) -> DriftReport:
    """The report of an encoded release, of `encode.merge` of its shards, or of a part of it."""
    more = extra or Extra()
    kept = store or Store()
    for stage in track_weighted([(s, s.weight) for s in parts.stages(encoded, config)], "computing the report"):
        more = more + kept.extra(stage.name, stage.make)
    notes = [] if encoded.has_reference_I.any() else [NO_REFERENCE]
    notes += [] if len(np.unique(encoded.generation_T)) > 1 else [NOISE]
    return DriftReport(
        teachers=frame(more.teachers, TEACHERS),
        pairs=frame(more.pairs, PAIRS),
        findings=frame(more.findings, FINDING),
        steps=frame(more.steps, STEPS),
        tests=frame(families.corrected(more.tests), TESTS),
        about=_about(encoded, config, manifest, more.about),
        notes=(*notes, *more.notes),
        encoded=encoded,
        config=config,
    )


def _about(encoded: Encoded, config: Config, manifest: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What the report was computed from and with."""
    methods = {
        "cxr_max": cxr_max.__version__,
        "lexicon": finding_rules.LEXICON_VERSION,
        **{k: v for k, v in asdict(config).items() if k not in ("jobs", "limit", "teachers", "split", "by")},
        "packages": {p: _version(p) for p in ("numpy", "polars", "scipy", "scikit-learn", "statsmodels")},
        "aligned_bins": states.ALIGNED_BINS,
    }
    excluded = int((~encoded.has_reference_I).sum())
    return {
        "synthetic": bool(manifest.get("synthetic", False)),
        "version": manifest.get("version"),
        "dataset": manifest.get("dataset", "cxr-max"),
        "n_instances": encoded.n_instances,
        "n_trajectories": encoded.n_trajectories,
        "n_studies": len(np.unique(encoded.study_I)),
        "n_patients": len(np.unique(encoded.patient_I)),
        "n_without_reference": excluded,
        "n_per_teacher": _per_teacher(encoded),
        "selection": {"teachers": list(encoded.vocabulary.teachers), "split": config.split, "limit": config.limit},
        "methods": methods,
        "signature": signature(methods),
        **more,
    }


def _per_teacher(encoded: Encoded) -> dict[str, int]:
    counts = np.bincount(encoded.teacher_T, minlength=len(encoded.vocabulary.teachers))
    return {t: int(n) for t, n in zip(encoded.vocabulary.teachers, counts, strict=True)}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
