"""Figures that are ratios of sums over patients: their estimates, intervals and paired differences.

Every study has the weight one for every teacher, however many images or generations it has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr_max.drift import permute, resample
from cxr_max.drift.stats._common import Floats, divide

Ints = NDArray[np.int64]


class Units(NamedTuple):
    """Who the rows belong to.

    Attributes:
        patient_T: patient code 0..n_patients - 1 of each row.
        study_T: study code of each row.
        teacher_T: teacher code of each row.
        n_patients: number of patients.
        n_teachers: number of teachers.
        patient_of_study: patient code of each study.
    """

    patient_T: Ints
    study_T: Ints
    teacher_T: Ints
    n_patients: int
    n_teachers: int
    patient_of_study: Ints


def units_of(patient_I: ArrayLike, study_I: ArrayLike, instance_T: Ints, teacher_T: Ints, n_teachers: int) -> Units:
    """Units of trajectories from the ids of their instances."""
    patients, patient = np.unique(np.asarray(patient_I), return_inverse=True)
    pairs = np.stack([patient, np.asarray(study_I)], axis=1) if len(patient) else np.zeros((0, 2), dtype=np.int64)
    studies, study = np.unique(pairs, axis=0, return_inverse=True)
    study = study.reshape(-1)
    return Units(
        patient[instance_T], study[instance_T], teacher_T, len(patients), n_teachers, studies[:, 0].astype(np.int64)
    )


@dataclass(frozen=True)
class Ratio:
    """One figure per teacher: sum of `top` over sum of `bottom`, both weighted per row.

    Attributes:
        name: what it is: column values of the frame, at least `metric`.
        top: numerator per row, 0 where undefined.
        bottom: denominator per row, 0 where undefined.
        defined: rows that count.
    """

    name: Mapping[str, Any]
    top: Floats
    bottom: Floats
    defined: NDArray[np.bool_] = field(repr=False)


def macro(units: Units, value_T: ArrayLike, **name: Any) -> Ratio:
    """Mean over studies of the mean over a study's rows; NaN rows are undefined and left out."""
    value = np.asarray(value_T, dtype=float)
    defined = ~np.isnan(value)
    weight = _share(units, defined)
    return Ratio({"averaging": "macro", **name}, np.where(defined, value, 0.0) * weight, weight, defined)


def micro(units: Units, top_T: ArrayLike, bottom_T: ArrayLike, counts_T: ArrayLike, **name: Any) -> Ratio:
    """Pooled counts; `counts_T` says which rows enter (those with a reference)."""
    counts = np.asarray(counts_T, dtype=bool)
    weight = _share(units, counts)
    top, bottom = np.asarray(top_T, dtype=float), np.asarray(bottom_T, dtype=float)
    return Ratio({"averaging": "micro", **name}, top * weight, bottom * weight, counts & (bottom > 0))


def _share(units: Units, rows: NDArray[np.bool_]) -> Floats:
    group = units.study_T * units.n_teachers + units.teacher_T
    size = np.bincount(group[rows], minlength=int(group.max(initial=-1)) + 1)
    return np.where(rows, divide(1.0, np.maximum(size[group], 1)), 0.0)


class Derived(NamedTuple):
    """A figure computed from others: `name`, positions of its inputs, and a function of their values."""

    name: Mapping[str, Any]
    inputs: tuple[int, ...]
    function: Callable[..., Floats]


class Estimates(NamedTuple):
    """Rows ready for a frame, and the interval they come from (teachers x figures)."""

    rows: list[dict[str, Any]]
    interval: resample.Interval
    names: list[Mapping[str, Any]]


def estimate(
    units: Units, ratios: Sequence[Ratio], derived: Sequence[Derived], teachers: Sequence[str], plan: tuple[int, int]
) -> Estimates:
    """Estimates with patient-clustered intervals, one row per teacher and figure.

    Args:
        units: who the rows belong to.
        ratios: the figures.
        derived: figures computed from them.
        teachers: names by code.
        plan: bootstrap draws, seed.
    """
    if not ratios:
        return Estimates([], resample.bootstrap(np.zeros((0, 1)), lambda s: s, draws=0), [])
    sums = patient_teacher_sums(units, ratios)
    n_u, n_m = units.n_teachers, len(ratios)
    interval = resample.bootstrap(sums, _values_of(n_u, n_m, derived), draws=plan[0], seed=plan[1])
    names = [r.name for r in ratios] + [d.name for d in derived]
    counts = [_counts(units, r.defined) for r in ratios]
    counts += [tuple(np.min([counts[i][k] for i in d.inputs], axis=0) for k in (0, 1)) for d in derived]
    studies = _counts(units, np.ones(len(units.teacher_T), dtype=bool))[0]
    rows = [
        {
            "teacher": teacher,
            **name,
            "value": float(interval.value[u, m]),
            "low": float(interval.low[u, m]),
            "high": float(interval.high[u, m]),
            "standard_error": float(interval.error[u, m]),
            "n": int(counts[m][0][u]),
            "n_undefined": int(studies[u] - counts[m][0][u]),
            "n_patients": int(counts[m][1][u]),
            "nan_draws": int(interval.nan_draws[u, m]),
            "interval": interval.method,
        }
        for m, name in enumerate(names)
        for u, teacher in enumerate(teachers)
    ]
    return Estimates(rows, interval, names)


def _values_of(n_u: int, n_m: int, derived: Sequence[Derived]) -> Callable[[Floats], Floats]:
    def values(sums: Floats) -> Floats:
        parts = sums.reshape(*sums.shape[:-1], n_u, n_m, 2)
        plain = divide(parts[..., 0], parts[..., 1])
        more = [d.function(*(plain[..., i] for i in d.inputs)) for d in derived]
        return np.concatenate([plain, np.stack(more, axis=-1)], axis=-1) if more else plain

    return values


def patient_teacher_sums(units: Units, ratios: Sequence[Ratio]) -> Floats:
    """patients x (teachers * figures * 2): the sufficient statistics of every interval."""
    group = units.patient_T * units.n_teachers + units.teacher_T
    size = units.n_patients * units.n_teachers
    out = np.empty((size, len(ratios), 2))
    for m, ratio in enumerate(ratios):
        out[:, m, 0] = np.bincount(group, weights=ratio.top, minlength=size)
        out[:, m, 1] = np.bincount(group, weights=ratio.bottom, minlength=size)
    return out.reshape(units.n_patients, units.n_teachers * len(ratios) * 2)


def _counts(units: Units, defined: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Studies and patients per teacher with a defined row."""
    out = []
    for code in (units.study_T, units.patient_T):
        pairs = np.unique(code[defined] * units.n_teachers + units.teacher_T[defined])
        out.append(np.bincount(pairs % units.n_teachers, minlength=units.n_teachers).astype(np.int64))
    return out[0], out[1]


def study_values(units: Units, ratio: Ratio) -> Floats:
    """studies x teachers values of one figure, NaN where undefined."""
    n = len(units.patient_of_study)
    group = units.study_T * units.n_teachers + units.teacher_T
    size = n * units.n_teachers
    top = np.bincount(group, weights=ratio.top, minlength=size)
    bottom = np.bincount(group, weights=ratio.bottom, minlength=size)
    return divide(top, bottom).reshape(n, units.n_teachers)


def pair_differences(
    units: Units, ratios: Sequence[Ratio], teachers: Sequence[str], plan: tuple[int, int], permutations: int
) -> list[dict[str, Any]]:
    """Paired differences between teachers: interval of the difference, and a swap within study clustered by patient.

    Args:
        units: who the rows belong to.
        ratios: figures to compare (macro).
        teachers: names by code.
        plan: bootstrap draws, seed.
        permutations: of each test.
    """
    pairs = [(u, w) for u in range(len(teachers)) for w in range(u + 1, len(teachers))]
    rows = []
    for ratio in ratios:
        values = study_values(units, ratio)
        difference = np.stack([values[:, u] - values[:, w] for u, w in pairs], axis=1) if pairs else values[:, :0]
        both = ~np.isnan(difference)
        terms = np.concatenate([np.where(both, difference, 0.0), both.astype(float)], axis=1)
        sums = resample.patient_sums(terms, units.patient_of_study, units.n_patients)
        interval = resample.bootstrap(sums, _halves, draws=plan[0] if pairs else 0, seed=plan[1])
        detectable = resample.smallest_detectable(interval.error)
        for j, (u, w) in enumerate(pairs):
            test = permute.paired_mean(difference[:, j], units.patient_of_study, draws=permutations, seed=plan[1] + j)
            rows.append(
                {
                    "teacher_a": teachers[u], "teacher_b": teachers[w], **ratio.name,
                    "value": float(interval.value[j]), "low": float(interval.low[j]), "high": float(interval.high[j]),
                    "p": test.p, "effect": test.effect, "n": test.n, "n_undefined": int((~both[:, j]).sum()),
                    "n_patients": test.n_patients, "smallest_detectable": float(detectable[j]),
                }
            )  # fmt: skip
    return rows


def _halves(sums: Floats) -> Floats:
    half = sums.shape[-1] // 2
    return divide(sums[..., :half], sums[..., half:])


def global_test(units: Units, ratio: Ratio, permutations: int, seed: int) -> permute.Test:
    """Whether any teacher differs: teachers permuted within patients, on studies where every teacher is defined.

    The statistic is the variance of the teachers' means; its root is the effect, and what could have been found is
    given on that scale.
    """
    values = study_values(units, ratio)
    complete = ~np.isnan(values).any(axis=1)
    n_patients = len(np.unique(units.patient_of_study[complete]))
    if not complete.any() or values.shape[1] < 2:
        nan = float("nan")
        return permute.Test(nan, nan, nan, 0, n_patients, False, "no study with every teacher, or one teacher")
    sums = resample.patient_sums(values[complete], units.patient_of_study[complete], units.n_patients)
    sums = sums[np.bincount(units.patient_of_study[complete], minlength=units.n_patients) > 0]
    rng = np.random.default_rng(seed)
    n = int(complete.sum())
    observed = float(np.var(sums.sum(axis=0) / n))
    null = [float(np.var(rng.permuted(sums, axis=1).sum(axis=0) / n)) for _ in range(permutations)]
    return permute.Test(
        observed, permute.p_value(observed, null), float(np.sqrt(observed)), n, n_patients, False,
        detectable=resample.smallest_detectable_spread(null, values.shape[1]),
    )  # fmt: skip
