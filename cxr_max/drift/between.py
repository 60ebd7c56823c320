"""Between teachers: agreement per finding and pooled, pairwise kappa, divergence, outliers, consensus.

Two codings: A asserts present or not (refusals are missing); B present, uncertain or absent, not mentioned is missing.
Units are instances, each study weighs one; intervals resample patients.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import permute, resample
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import PRESENT, Encoded, Small, label_states
from cxr_max.drift.extra import Rows
from cxr_max.drift.stats import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    jensen_shannon,
    krippendorff_alpha,
    pabak,
    vote_entropy,
)
from cxr_max.drift.stats._common import Floats, divide
from cxr_max.schema import FINDINGS

POOLED = "all"


class Ratings(NamedTuple):
    """Instances x teachers x labels as categories 0..K-1, -1 missing, and what belongs to it.

    Attributes:
        codes_IUL: ratings of generation 0.
        n_categories: K.
        weight_I: 1 / instances of the study.
        patient_I: patient code.
        n_patients: number of patients.
        coding: A or B.
    """

    codes_IUL: Small
    n_categories: int
    weight_I: Floats
    patient_I: NDArray[np.int64]
    n_patients: int
    coding: str


def ratings(encoded: Encoded, coding: str, *, generation: int = 0, states: Small | None = None) -> Ratings:
    """What every teacher says of every label on every instance."""
    n_u = len(encoded.vocabulary.teachers)
    if states is None:
        states = label_states(encoded.findings, encoded.n_trajectories, encoded.vocabulary, encoded.refusal_T)
    codes = np.full((encoded.n_instances, n_u, len(FINDINGS)), -1, dtype=np.int16)
    rows = np.flatnonzero((encoded.generation_T == generation) & ~encoded.refusal_T)
    values = (states[rows] == PRESENT).astype(np.int16) if coding == "A" else states[rows]
    codes[encoded.instance_T[rows], encoded.teacher_T[rows]] = values
    patients, patient = np.unique(encoded.patient_I, return_inverse=True)
    _, study, size = np.unique(encoded.study_I, return_inverse=True, return_counts=True)
    return Ratings(codes, 2 if coding == "A" else 3, 1.0 / size[study], patient, len(patients), coding)


def _patient_terms(r: Ratings, terms: Callable[[Floats], Floats]) -> Floats:
    """patients x labels x terms, each instance weighted."""
    parts = []
    for label in range(r.codes_IUL.shape[2]):
        codes = r.codes_IUL[:, :, label]
        counts = np.stack([(codes == k).sum(axis=1) for k in range(r.n_categories)], axis=1).astype(float)
        parts.append(resample.patient_sums(terms(counts) * r.weight_I[:, None], r.patient_I, r.n_patients))
    return np.stack(parts, axis=1)


def _votes(counts: Floats) -> Floats:
    """Per unit: has a rating, share of category 0..K-1, entropy of present, has a pair, pair agreement."""
    n = counts.sum(axis=1)
    votes = vote_entropy.compute(counts[:, -1] if counts.shape[1] == 2 else counts[:, 0], n)
    agreement = divide((counts * (counts - 1)).sum(axis=1), n * (n - 1))
    yes = counts[:, -1] if counts.shape[1] == 2 else counts[:, 0]
    columns = [n >= 1, np.nan_to_num(divide(yes, n)), np.nan_to_num(votes.entropy), n >= 2, np.nan_to_num(agreement)]
    return np.column_stack(columns).astype(float)


def agreement_rows(r: Ratings, n_teachers: int, plan: tuple[int, int]) -> Rows:
    """Alpha, Fleiss, AC1, PABAK, vote entropy, pair agreement and prevalence, per label and pooled."""
    k = r.n_categories

    def fleiss(counts: Floats) -> Floats:
        return fleiss_kappa.terms(counts, n_teachers)

    def vote_values(sums: Floats) -> Floats:
        return np.stack(
            [
                divide(sums[..., 1], sums[..., 0]),
                divide(sums[..., 2], sums[..., 0]),
                divide(sums[..., 4], sums[..., 3]),
            ],
            axis=-1,
        )

    kinds: tuple[tuple[tuple[str, ...], Callable[[Floats], Floats], Callable[[Floats], Floats], int], ...] = (
        (("krippendorff_alpha",), krippendorff_alpha.terms, lambda s: krippendorff_alpha.from_sums(s)[..., None], 1),
        (("fleiss_kappa",), fleiss, lambda s: fleiss_kappa.from_sums(s)[..., None], 0),
        (
            ("gwet_ac1", "pabak"),
            gwet_ac1.terms,
            lambda s: np.stack([gwet_ac1.from_sums(s), pabak.from_agreement(divide(s[..., 1], s[..., 0]), k)], axis=-1),
            0,
        ),
        (("prevalence", "vote_entropy", "pair_agreement"), _votes, vote_values, 0),
    )
    rows: Rows = []
    for names, terms, from_sums, _ in kinds:
        sums = _patient_terms(r, terms)
        n_units = _defined_units(r, names[0], n_teachers)
        flat = sums.reshape(len(sums), -1)
        shape = sums.shape[1:]

        def values(s: Floats, shape: tuple[int, ...] = shape, f: Callable[[Floats], Floats] = from_sums) -> Floats:
            per_label = s.reshape(*s.shape[:-1], *shape)
            both = np.concatenate([per_label, per_label.sum(axis=-2, keepdims=True)], axis=-2)
            return f(both)

        interval = resample.bootstrap(flat, values, draws=plan[0], seed=plan[1])
        for m, name in enumerate(names):
            for place, finding in enumerate((*FINDINGS, POOLED)):
                rows.append(
                    {
                        "finding": finding, "coding": r.coding, "metric": name,
                        **_cells(interval, (place, m)), **n_units[place],
                    }
                )  # fmt: skip
    return rows


def _cells(interval: resample.Interval, place: tuple[int, ...]) -> dict[str, Any]:
    return {
        "value": float(interval.value[place]),
        "low": float(interval.low[place]),
        "high": float(interval.high[place]),
        "standard_error": float(interval.error[place]),
        "nan_draws": int(interval.nan_draws[place]),
    }


def _defined_units(r: Ratings, metric: str, n_teachers: int) -> list[dict[str, int]]:
    """Units and patients that enter, per label and pooled."""
    given = (r.codes_IUL >= 0).sum(axis=1)
    least = {"fleiss_kappa": n_teachers, "prevalence": 1}.get(metric, 2)
    enters = given >= max(least, 1)
    out = []
    for chosen in (*enters.T, enters.any(axis=1)):
        n = int(chosen.sum())
        out.append({"n": n, "n_undefined": len(chosen) - n, "n_patients": len(np.unique(r.patient_I[chosen]))})
    return out


def pairs(n: int) -> Iterator[tuple[int, int]]:
    """All pairs of teachers."""
    return ((u, w) for u in range(n) for w in range(u + 1, n))


def kappa_rows(r: Ratings, teachers: tuple[str, ...], plan: tuple[int, int]) -> Rows:
    """Cohen's kappa, AC1 and PABAK of every pair, per label and pooled."""
    k = r.n_categories
    rows: Rows = []
    for u, w in pairs(len(teachers)):
        a, b = r.codes_IUL[:, u], r.codes_IUL[:, w]
        both = (a >= 0) & (b >= 0)
        cell = np.where(both, a * k + b, k * k)
        table = np.zeros((r.n_patients, len(FINDINGS), k * k + 1))
        label = np.broadcast_to(np.arange(len(FINDINGS)), cell.shape)
        np.add.at(table, (np.broadcast_to(r.patient_I[:, None], cell.shape), label, cell), r.weight_I[:, None])
        sums = table[..., :-1].reshape(r.n_patients, -1)

        def values(s: Floats) -> Floats:
            tables = s.reshape(*s.shape[:-1], len(FINDINGS), k, k)
            tables = np.concatenate([tables, tables.sum(axis=-3, keepdims=True)], axis=-3)
            observed = divide(np.trace(tables, axis1=-2, axis2=-1), tables.sum(axis=(-2, -1)))
            share = divide((tables.sum(axis=-1) + tables.sum(axis=-2)) / 2, tables.sum(axis=(-2, -1))[..., None])
            expected = (share * (1 - share)).sum(axis=-1) / (k - 1)
            return np.stack(
                [
                    cohen_kappa.from_sums(tables),
                    divide(observed - expected, 1 - expected),
                    pabak.from_agreement(observed, k),
                    observed,
                ],
                axis=-1,
            )

        interval = resample.bootstrap(sums, values, draws=plan[0], seed=plan[1])
        for place, finding in enumerate((*FINDINGS, POOLED)):
            chosen = both[:, place] if place < len(FINDINGS) else both.any(axis=1)
            for m, metric in enumerate(("cohen_kappa", "gwet_ac1", "pabak", "pair_agreement")):
                rows.append(
                    {
                        "teacher_a": teachers[u], "teacher_b": teachers[w], "metric": metric, "coding": r.coding,
                        "finding": finding, **_cells(interval, (place, m)), "n": int(chosen.sum()),
                        "n_undefined": int((~chosen).sum()), "n_patients": len(np.unique(r.patient_I[chosen])),
                    }
                )  # fmt: skip
    return rows


def cell_sums(encoded: Encoded, states_TL: Small, *, generation: int = 0) -> tuple[Floats, NDArray[np.bool_]]:
    """patients x teachers x (label, status) cells, each trajectory spread over its cells; and who has any."""
    rows = np.flatnonzero((encoded.generation_T == generation) & ~encoded.refusal_T)
    asserted = states_TL[rows][..., None] == np.arange(3)
    asserted = asserted.reshape(len(rows), states_TL.shape[1] * 3)
    size = asserted.sum(axis=1)
    _, study, images = np.unique(encoded.study_I, return_inverse=True, return_counts=True)
    weight = divide(1.0 / images[study][encoded.instance_T[rows]], size)
    patients, patient = np.unique(encoded.patient_I, return_inverse=True)
    n_u = len(encoded.vocabulary.teachers)
    owner = patient[encoded.instance_T[rows]] * n_u + encoded.teacher_T[rows]
    sums = resample.patient_sums(asserted * np.nan_to_num(weight)[:, None], owner, len(patients) * n_u)
    return sums.reshape(len(patients), n_u, -1), np.bincount(owner, minlength=len(patients) * n_u).reshape(-1, n_u) > 0


def divergence_rows(encoded: Encoded, states_TL: Small, config: Config) -> tuple[Rows, Rows]:
    """Generalised Jensen-Shannon of all teachers and of every pair, with swap tests; rows of pairs, and of tests."""
    teachers = encoded.vocabulary.teachers
    sums, has = cell_sums(encoded, states_TL)
    chosen = list(pairs(len(teachers)))

    def values(s: Floats) -> Floats:
        tables = s.reshape(*s.shape[:-1], len(teachers), -1)
        two = [jensen_shannon.from_counts(tables[..., [u, w], :]) for u, w in chosen]
        return np.stack([jensen_shannon.from_counts(tables), *two], axis=-1)

    interval = resample.bootstrap(
        sums.reshape(len(sums), -1), values, draws=config.draws, seed=config.seed, method="normal"
    )
    rng = np.random.default_rng(config.seed)
    null = [_permuted_divergence(sums[has.all(axis=1)], rng) for _ in range(config.permutations)]
    observed = float(jensen_shannon.from_counts(sums[has.all(axis=1)].sum(axis=0))) if has.all(axis=1).any() else np.nan
    n_all = int(has.all(axis=1).sum())
    rows: Rows = [
        {
            "teacher_a": POOLED, "teacher_b": POOLED, "metric": "jensen_shannon", "coding": "B", "finding": POOLED,
            **_cells(interval, (0,)), "p": permute.p_value(observed, null), "n": n_all, "n_patients": n_all,
            "n_undefined": len(sums) - n_all,
        }
    ]  # fmt: skip
    for j, (u, w) in enumerate(chosen):
        both = has[:, u] & has[:, w]
        p = swap_divergence(sums[both][:, [u, w]], config.permutations, config.seed + j)
        rows.append(
            {
                "teacher_a": teachers[u], "teacher_b": teachers[w], "metric": "jensen_shannon", "coding": "B",
                "finding": POOLED, **_cells(interval, (j + 1,)), "p": p, "n": int(both.sum()),
                "n_patients": int(both.sum()), "n_undefined": int((~both).sum()),
            }
        )  # fmt: skip
    return rows[1:], rows[:1]


def _permuted_divergence(sums_PUC: Floats, rng: np.random.Generator) -> float:
    if not len(sums_PUC):
        return float("nan")
    order = rng.permuted(np.broadcast_to(np.arange(sums_PUC.shape[1]), sums_PUC.shape[:2]), axis=1)
    shuffled = np.take_along_axis(sums_PUC, order[..., None], axis=1)
    return float(jensen_shannon.from_counts(shuffled.sum(axis=0)))


def swap_divergence(sums_P2C: Floats, permutations: int, seed: int) -> float:
    """p-value of the divergence of two teachers, exchanging them within patients."""
    if not len(sums_P2C):
        return float("nan")
    swaps = permute.cluster_signs(np.arange(len(sums_P2C)), draws=permutations, seed=seed)
    total = sums_P2C.sum(axis=(0, 1))
    gap = swaps.signs_NB.T @ (sums_P2C[:, 0] - sums_P2C[:, 1])
    null = jensen_shannon.from_counts(np.stack([(total + gap) / 2, (total - gap) / 2], axis=-2))
    observed = float(jensen_shannon.from_counts(sums_P2C.sum(axis=0)))
    return permute.p_value(observed, null, exact=swaps.exact)


def within_teacher(encoded: Encoded, states_TL: Small, plan: tuple[int, int]) -> Rows:
    """Agreement of each teacher with itself over generations, the floor of decoding noise; empty with one."""
    generations = np.unique(encoded.generation_T)
    if len(generations) < 2:
        return []
    rated = [ratings(encoded, "A", generation=int(g), states=states_TL) for g in generations]
    rows: Rows = []
    for code, teacher in enumerate(encoded.vocabulary.teachers):
        stacked = rated[0]._replace(codes_IUL=np.stack([r.codes_IUL[:, code] for r in rated], axis=1))
        for row in agreement_rows(stacked, len(generations), plan):
            if row["finding"] == POOLED and row["metric"] in ("pair_agreement", "krippendorff_alpha"):
                name = {"teacher": teacher, "averaging": "micro", "note": "agreement of a teacher with itself"}
                rows.append({**row, **name, "metric": f"within_teacher_{row['metric']}"})
    return rows
