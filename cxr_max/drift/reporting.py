"""The whole report: encode, score, compare, test, and put the frames together."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Unpack

import numpy as np
import polars as pl

import cxr_max
from cxr_max import findings as finding_rules
from cxr_max.drift import along, between, compare, families, per_teacher, reading, states, subgroups, twosample
from cxr_max.drift.config import Config, Options, from_options
from cxr_max.drift.encoded import Encoded, label_states
from cxr_max.drift.ratios import estimate
from cxr_max.drift.result import DriftReport, frame, signature
from cxr_max.schema import Scannable

Rows = list[dict[str, Any]]
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
    config = from_options(options)
    encoded = reading.encode(data, config)
    extra = twosample.compute(data, encoded, config)
    if against is not None:
        extra = extra + compare.compute(data, against, config)
    return from_encoded(encoded, config, data.manifest, extra)


def from_encoded(
    encoded: Encoded, config: Config, manifest: Mapping[str, Any], extra: "compare.Extra | None" = None
) -> DriftReport:
    """The report of an encoded release, of `encode.merge` of its shards, or of a part of it."""
    more = extra or compare.Extra()
    teachers = encoded.vocabulary.teachers
    rows, tests, pair_rows, shuffle = _references_part(encoded, config)
    label_state = label_states(encoded.findings, encoded.n_trajectories, encoded.vocabulary, encoded.refusal_T)
    finding_rows: Rows = []
    for coding in ("A", "B"):
        rated = between.ratings(encoded, coding, states=label_state)
        plan = (config.draws, config.seed)
        finding_rows += [{"teacher": "all", **r} for r in between.agreement_rows(rated, len(teachers), plan)]
        pair_rows += between.kappa_rows(rated, teachers, plan)
    finding_rows += [r for r in rows if r["finding"] != "all"]
    rows = [r for r in rows if r["finding"] == "all"]
    rows += subgroups.compute(encoded, config)
    diverging, diverging_pairs = families.divergence_tests(encoded, label_state, config)
    step_rows, step_tests = _steps_part(encoded, config)
    floor, notes = between.within_teacher(encoded, label_state, (config.draws, config.seed)), []
    notes += [] if encoded.has_reference_I.any() else [NO_REFERENCE]
    notes += [] if floor else [NOISE]
    every = families.corrected([*tests, *diverging, *step_tests, *families.bin_tests(encoded, config), *more.tests])
    return DriftReport(
        teachers=frame([*rows, *floor, *more.teachers], TEACHERS),
        pairs=frame([*pair_rows, *diverging_pairs, *more.pairs], PAIRS),
        findings=frame(finding_rows, FINDING),
        steps=frame(step_rows, STEPS),
        tests=frame(every, TESTS),
        about=_about(encoded, config, manifest, {"matched_shuffle": shuffle, **more.about}),
        notes=(*notes, *more.notes),
        encoded=encoded,
        config=config,
    )


def _references_part(encoded: Encoded, config: Config) -> tuple[Rows, Rows, Rows, dict[str, Any]]:
    """Figures of each teacher, their tests and paired differences."""
    u = per_teacher.units(encoded)
    teachers, plan = encoded.vocabulary.teachers, (config.draws, config.seed)
    if not encoded.has_reference_I.any():
        has_T = np.zeros(encoded.n_trajectories, dtype=bool)
        rates = per_teacher.rate_ratios(encoded, config, u, has_T, per_teacher.tags(config))
        return estimate(u, rates, [], teachers, plan).rows, [], [], {}
    scored = per_teacher.score(encoded, config)
    ratios, derived = per_teacher.headline_ratios(encoded, config, scored, u)
    shuffled, facts = per_teacher.shuffle_ratios(encoded, config, scored, u)
    rows = estimate(u, ratios, derived, teachers, plan).rows
    rows += estimate(u, shuffled + per_teacher.grounding_ratios(encoded, config, u), [], teachers, plan).rows
    rows += estimate(u, *per_teacher.finding_ratios(encoded, config, scored, u), teachers, plan).rows
    rows += per_teacher.sensitivity_rows(encoded, config, u) + per_teacher.ceiling_rows(encoded, config)
    wanted = ("precision", "recall", "precision_above_shuffle", "recall_above_shuffle", *encoded.similarity_T)
    chosen = [r for r in (*ratios, *shuffled) if r.name["metric"] in wanted and r.name["averaging"] == "macro"]
    tests, pairs = families.teacher_tests(u, chosen, config, teachers)
    return rows, tests, pairs, facts


def _steps_part(encoded: Encoded, config: Config) -> tuple[Rows, Rows]:
    """Curves along the reasoning and their tests."""
    borne = states.bearing(encoded)
    rows: Rows = []
    tests: Rows = []
    for view in (along.aligned_view(encoded, borne), along.plain_view(encoded, borne, config.bins)):
        result = along.constancy(view, config)
        rows += along.curve_rows(encoded, view, result, (config.draws, config.seed))
        tests += families.step_tests(result, view.name, len(np.unique(encoded.patient_I[view.instance])))
    tests += families.change_tests(encoded, borne, config)
    rows += along.history_rows(encoded, config)
    return rows, tests


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
