"""The stages of a report: independent parts, each of which gives rows of some of the frames."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from cxr_max.drift import along, between, families, per_teacher, states, subgroups
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded, Small, label_states
from cxr_max.drift.extra import Extra, Rows
from cxr_max.drift.ratios import Units, estimate


class Stage(NamedTuple):
    """One part: `name`, about the share of the time it takes (`weight`), and how it is made."""

    name: str
    weight: float
    make: Callable[[], Extra]


def stages(encoded: Encoded, config: Config) -> list[Stage]:
    """All stages that the data allow, in the order of their rows."""
    plan = (config.draws, config.seed)
    n_u = len(encoded.vocabulary.teachers)
    teachers = encoded.vocabulary.teachers

    @cache
    def label_state() -> Small:
        return label_states(encoded.findings, encoded.n_trajectories, encoded.vocabulary, encoded.refusal_T)

    @cache
    def borne() -> states.Bearing:
        return states.bearing(encoded)

    def agreement(coding: str) -> Extra:
        rows = between.agreement_rows(between.ratings(encoded, coding, states=label_state()), n_u, plan)
        return Extra(findings=[{"teacher": "all", **r} for r in rows])

    def kappa(coding: str) -> Extra:
        return Extra(pairs=between.kappa_rows(between.ratings(encoded, coding, states=label_state()), teachers, plan))

    def divergence() -> Extra:
        tests, pairs = families.divergence_tests(encoded, label_state(), config)
        return Extra(tests=tests, pairs=pairs)

    made = (
        _references(encoded, config)
        if encoded.has_reference_I.any()
        else [Stage("rates", 4, lambda: _rates(encoded, config))]
    )
    made += [Stage(f"agreement-{c}", 2, partial(agreement, c)) for c in ("A", "B")]
    made += [Stage(f"kappa-{c}", 7, partial(kappa, c)) for c in ("A", "B")]
    return [
        *made,
        Stage("divergence", 6, divergence),
        Stage("kind-adjusted", 3, lambda: _disagreement(encoded, config)),
        Stage("topic-aligned", 14, lambda: _curve(encoded, config, along.aligned_view(encoded, borne()))),
        Stage("plain", 6, lambda: _curve(encoded, config, along.plain_view(encoded, borne(), config.bins))),
        Stage("history", 3, lambda: Extra(steps=along.history_rows(encoded, config))),
        Stage("changes", 5, lambda: Extra(tests=families.change_tests(encoded, borne(), config))),
        Stage("bins", 4, lambda: Extra(tests=families.bin_tests(encoded, config))),
        Stage("floor", 1, lambda: Extra(teachers=between.within_teacher(encoded, label_state(), plan))),
        Stage("subgroups", 2 * len(config.by), lambda: subgroups.compute(encoded, config)),
    ]


def _rates(encoded: Encoded, config: Config) -> Extra:
    """Without any report: rates that need none."""
    u = per_teacher.units(encoded)
    has_T = np.zeros(encoded.n_trajectories, dtype=bool)
    rates = per_teacher.rate_ratios(encoded, config, u, has_T, per_teacher.tags(config))
    return Extra(teachers=estimate(u, rates, [], encoded.vocabulary.teachers, (config.draws, config.seed)).rows)


def _references(encoded: Encoded, config: Config) -> list[Stage]:
    """What needs reports: figures of each teacher, their tests and paired differences."""
    u = per_teacher.units(encoded)

    @cache
    def scored() -> per_teacher.Scored:
        return per_teacher.score(encoded, config)

    return [
        Stage("headline", 22, lambda: _headline(encoded, config, scored(), u)),
        Stage("sensitivity", 40, lambda: Extra(teachers=per_teacher.sensitivity_rows(encoded, config, u))),
        Stage("ceiling", 1, lambda: Extra(teachers=per_teacher.ceiling_rows(encoded, config))),
        Stage("per-finding", 3, lambda: _per_finding(encoded, config, scored(), u)),
    ]


def _headline(encoded: Encoded, config: Config, scored: per_teacher.Scored, u: Units) -> Extra:
    """Figures under the headline configuration with their baselines; which teachers differ."""
    teachers, plan = encoded.vocabulary.teachers, (config.draws, config.seed)
    ratios, derived = per_teacher.headline_ratios(encoded, config, scored, u)
    shuffled, facts = per_teacher.shuffle_ratios(encoded, config, scored, u)
    rows = estimate(u, ratios, derived, teachers, plan).rows
    rows += estimate(u, shuffled + per_teacher.grounding_ratios(encoded, config, u), [], teachers, plan).rows
    wanted = ("precision", "recall", "precision_above_shuffle", "recall_above_shuffle", *encoded.similarity_T)
    chosen = [r for r in (*ratios, *shuffled) if r.name["metric"] in wanted and r.name["averaging"] == "macro"]
    tests, pairs = families.teacher_tests(u, chosen, config, teachers)
    return Extra(teachers=rows, tests=tests, pairs=pairs, about={"matched_shuffle": facts})


def _per_finding(encoded: Encoded, config: Config, scored: per_teacher.Scored, u: Units) -> Extra:
    ratios, derived = per_teacher.finding_ratios(encoded, config, scored, u)
    rows = estimate(u, ratios, derived, encoded.vocabulary.teachers, (config.draws, config.seed)).rows
    return Extra(findings=rows)


def _curve(encoded: Encoded, config: Config, view: along.View) -> Extra:
    """One curve along the reasoning and its tests."""
    result = along.constancy(view, config)
    rows: Rows = along.curve_rows(encoded, view, result, (config.draws, config.seed))
    tests: list[dict[str, Any]] = families.step_tests(
        result, view.name, len(np.unique(encoded.patient_I[view.instance]))
    )
    return Extra(steps=rows, tests=tests)


def _disagreement(encoded: Encoded, config: Config) -> Extra:
    """Who disagrees with a statement, against its place in the text."""
    trend, rows = along.disagreement(encoded, config)
    return Extra(steps=rows, tests=families.trend_test(trend))
