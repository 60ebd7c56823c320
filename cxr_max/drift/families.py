"""The declared families of tests: what is tested, with which correction, and what could have been found.

Headlines (Holm): any teacher differs in precision, in recall; teachers diverge at all; statements become more
or less disputed along the text, given their kind. Each other family is corrected by Benjamini-Hochberg, and pairs are
tested only where their global test rejects.
"""

from typing import Any

import numpy as np

from cxr_max.drift import along, between, multiplicity, permute, resample, states
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded, Small
from cxr_max.drift.extra import Rows
from cxr_max.drift.ratios import Ratio, Units, global_test, pair_differences
from cxr_max.drift.stats._common import divide
from cxr_max.drift.stats.disagreement_trend import Trend
from cxr_max.drift.stats.jensen_shannon import from_counts
from cxr_max.drift.stats.step_constancy import Constancy
from cxr_max.schema import FINDINGS

ALPHA = 0.05
HEADLINE = "headline"
TREND = "Spearman; detectable: rise in bits from the first to the last bin"
NO_TREND = "Spearman; with three bins no rank correlation can be significant"
RISE = "rise of the share of other teachers who disagree, from the first to the last statement of a role in a text"
ORDERED = "rejects as well where kinds of statements stand in an order that texts share"
NOT_REJECTED = "not tested: the global test did not reject"


def row(family: str, test: str, found: permute.Test, **more: Any) -> dict[str, Any]:
    """One test as a row of the frame."""
    return {
        "family": family, "test": test, "statistic": found.statistic, "effect": found.effect, "p": found.p,
        "n": found.n, "n_patients": found.n_patients, "note": found.reason,
        "smallest_detectable": found.detectable, **more,
    }  # fmt: skip


def teacher_tests(u: Units, ratios: list[Ratio], config: Config, teachers: tuple[str, ...]) -> tuple[Rows, Rows]:
    """Global tests of each figure, then paired differences; rows of tests and of pairs."""
    tests: Rows = []
    pairs: Rows = []
    for k, ratio in enumerate(ratios):
        metric = str(ratio.name["metric"])
        found = global_test(u, ratio, config.permutations, config.seed + k)
        family = HEADLINE if metric in ("precision", "recall") else "any teacher differs"
        tests.append(row(family, f"any teacher differs: {metric}", found, metric=metric))
        differences = pair_differences(u, [ratio], teachers, (config.draws, config.seed), config.permutations)
        rejected = found.p <= ALPHA
        for d in differences:
            note = "" if rejected else NOT_REJECTED
            p = d.pop("p") if rejected else (d.pop("p"), float("nan"))[1]
            tests.append(
                {
                    "family": f"teacher pairs: {metric}", "test": f"{metric} differs", "metric": metric,
                    "teacher_a": d["teacher_a"], "teacher_b": d["teacher_b"], "statistic": d["value"],
                    "effect": d["effect"], "p": p, "n": d["n"], "n_patients": d["n_patients"],
                    "smallest_detectable": d["smallest_detectable"], "note": note,
                }
            )  # fmt: skip
            pairs.append({**d, "metric": f"difference of {metric}"})
    return tests, pairs


def trend_test(found: Trend) -> Rows:
    """The headline along the reasoning: disagreement about a statement against its place, given its kind."""
    return [
        {"family": HEADLINE, "test": f"disagreement has a trend ({along.KIND_ADJUSTED})", "view": along.KIND_ADJUSTED,
         "statistic": found.slope, "effect": found.effect, "p": found.p, "smallest_detectable": found.detectable,
         "n": found.n, "n_patients": found.n_patients,
         "note": RISE},
    ]  # fmt: skip


def step_tests(result: Constancy, view: str, n_patients: int) -> Rows:
    """Constancy of one curve: deviation, slope, change point."""
    null = result.null_deviation[~np.isnan(result.null_deviation)]
    # A true deviation z_.8 of the null's spread above its 95 % point is found eight times in ten.
    detectable = float(np.quantile(null, 1 - ALPHA) + 0.8416 * null.std()) if len(null) > 1 else float("nan")
    scale = float(np.nanmean(result.curve)) if not np.isnan(result.curve).all() else float("nan")
    base = {"view": view, "n": result.n_slots, "n_patients": n_patients}
    note = f"{result.n_movable} of {result.n_slots} finding-bearing steps can move; {ORDERED}"
    return [
        {"family": "steps", "test": f"divergence is constant ({view})", "statistic": result.deviation,
         "effect": float(divide(result.deviation, scale)), "p": result.p, "smallest_detectable": detectable,
         "note": note, **base},
        {"family": "steps", "test": f"divergence has a trend ({view})", "statistic": result.slope,
         "effect": result.slope, "p": result.p_slope, "smallest_detectable": result.detectable_trend,
         "note": TREND if len(result.curve) > 3 else NO_TREND, **base},
        {"family": "steps", "test": f"divergence has one change ({view})",
         "statistic": float("nan") if result.change is None else float(result.change), "effect": float("nan"),
         "p": result.p_change, "smallest_detectable": result.detectable_change,
         "note": "first bin after the change; needs four bins; detectable: height of the step in bits", **base},
    ]  # fmt: skip


def bin_tests(encoded: Encoded, config: Config) -> Rows:
    """Pairs x bins x findings: do two teachers differ in what they have affirmed by bin t? Swaps within patients."""
    past = states.history(encoded, config.bins).accumulated == 0
    teachers = encoded.vocabulary.teachers
    n_u, width = len(teachers), len(FINDINGS) * config.bins
    patients, patient = np.unique(encoded.patient_I, return_inverse=True)
    images = np.unique(encoded.study_I, return_inverse=True, return_counts=True)
    weight = 1.0 / images[2][images[1]]
    keep = (encoded.generation_T == 0) & ~encoded.refusal_T
    where = np.full((encoded.n_instances, n_u), -1, dtype=np.int64)
    where[encoded.instance_T[keep], encoded.teacher_T[keep]] = np.flatnonzero(keep)
    rows: Rows = []
    for j, (u, w) in enumerate(between.pairs(n_u)):
        both = (where[:, u] >= 0) & (where[:, w] >= 0)
        gap = past[where[both, u]].astype(np.int8) - past[where[both, w]].astype(np.int8)
        sums = resample.patient_sums(gap.reshape(len(gap), width) * weight[both, None], patient[both], len(patients))
        total = float(weight[both].sum())
        swaps = permute.cluster_signs(np.arange(len(patients)), draws=config.permutations, seed=config.seed + j)
        null = np.abs(swaps.signs_NB.T @ sums)
        observed = np.abs(sums.sum(axis=0))
        p = ((null >= observed - 1e-9).sum(axis=0) + (not swaps.exact)) / (len(null) + (not swaps.exact))
        for label, finding in enumerate(FINDINGS):
            for t in range(config.bins):
                cell = label * config.bins + t
                difference = float(divide(sums[:, cell].sum(), total))
                rows.append(
                    {
                        "family": "pairs x bins x findings", "test": "affirmed by this bin", "finding": finding,
                        "bin": t, "teacher_a": teachers[u], "teacher_b": teachers[w],
                        "statistic": difference, "effect": difference, "n": int(both.sum()),
                        "p": float(p[cell]) if both.any() else float("nan"),
                        "n_patients": len(np.unique(patient[both])), "note": "",
                    }
                )  # fmt: skip
    return rows


def change_tests(encoded: Encoded, borne: states.Bearing, config: Config) -> Rows:
    """Teachers x neighbouring bins: does one teacher assert something else in bin t + 1 than in bin t?"""
    view = along.plain_view(encoded, borne, config.bins)
    patients, patient_I = np.unique(encoded.patient_I, return_inverse=True)
    s = view.slots
    patient = patient_I[view.instance][s.owner]
    rows: Rows = []
    for code, teacher in enumerate(encoded.vocabulary.teachers):
        for t in range(config.bins - 1):
            sums = np.zeros((len(patients), 2, states.N_CELLS))
            for side in (0, 1):
                items = (s.teacher[s.owner] == code) & (s.bin[s.owner] == t + side)
                mass = (s.weight[s.owner] * s.share)[items]
                np.add.at(sums[:, side], (patient[items], s.cell[items]), mass)
            has = sums.sum(axis=2).all(axis=1)
            effect = float(from_counts(sums[has].sum(axis=0))) if has.any() else float("nan")
            p = between.swap_divergence(sums[has], config.permutations, config.seed + code)
            rows.append(
                {
                    "family": "change of one teacher", "test": "bin t against t + 1", "teacher_a": teacher, "bin": t,
                    "statistic": effect, "effect": effect, "p": p, "n": int(has.sum()), "n_patients": int(has.sum()),
                    "note": "Jensen-Shannon in bits; patients who say something in both bins",
                }
            )  # fmt: skip
    return rows


def divergence_tests(encoded: Encoded, states_TL: Small, config: Config) -> tuple[Rows, Rows]:
    """Teachers diverge at all (headline), then every pair; rows of tests and of pairs."""
    pairs, whole = between.divergence_rows(encoded, states_TL, config)
    tests: Rows = []
    for k, d in enumerate((*whole, *pairs)):
        p = d.pop("p")
        rejected = k == 0 or tests[0]["p"] <= ALPHA
        tests.append(
            {
                "family": HEADLINE if k == 0 else "teacher pairs: divergence", "test": "teachers diverge",
                "teacher_a": d["teacher_a"], "teacher_b": d["teacher_b"], "metric": "jensen_shannon",
                "statistic": d["value"], "effect": d["value"], "p": p if rejected else float("nan"), "n": d["n"],
                "n_patients": d["n_patients"], "note": "" if rejected else NOT_REJECTED,
                "smallest_detectable": float(resample.smallest_detectable(d["standard_error"])),
            }
        )  # fmt: skip
    return tests, [*whole, *pairs]


def corrected(tests: Rows) -> Rows:
    """Adjusted p-values inside each family: Holm for headlines, else Benjamini-Hochberg."""
    out = [dict(t) for t in tests]
    for family in sorted({t["family"] for t in out}):
        members = [t for t in out if t["family"] == family]
        method = "holm" if family == HEADLINE else "bh"
        adjusted = multiplicity.adjust([t["p"] for t in members], "holm" if family == HEADLINE else "bh")
        for t, p in zip(members, adjusted, strict=True):
            t["p_adjusted"], t["correction"] = float(p), method
    return out
