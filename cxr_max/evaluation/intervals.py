"""Patient-clustered bootstrap over per-sample statistics: the same draws for every score of a table.

Patients are resampled with replacement and all their samples go along; percentile intervals. Below 100 patients these
cover less than they say, and the drift report's method for few patients is taken (`drift.resample`): bias-corrected and
widened as Student's t is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift.resample import FEW_PATIENTS, few_limits

Floats = NDArray[np.float64]
BLOCK = 100


class Interval(NamedTuple):
    """A value with its interval.

    Attributes:
        value: of the samples as they are; NaN when undefined.
        low: lower end; NaN when fewer than two draws are defined.
        high: upper end.
        draws: the values of the draws, [D], NaN where undefined; kept for means over groups and paired differences.
        patients: number of clusters.
        influence: how much each patient of the task moves the value, [P]; None from 100 patients on.
    """

    value: float
    low: float
    high: float
    draws: Floats
    patients: int
    influence: Floats | None = None


def patient_counts(patients: Sequence[str], *, draws: int, seed: int) -> Iterator[tuple[list[str], Floats]]:
    """Blocks of resampled counts over the sorted patients, [block, P]; reproducible from seed and patients alone."""
    names = sorted(set(patients))
    rng = np.random.default_rng(seed)
    for begin in range(0, draws, BLOCK):
        rows = min(BLOCK, draws - begin)
        yield names, rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows).astype(np.float64)


def bootstrap(
    score: Callable[[Floats], Floats], patients: Sequence[str], *, all_patients: Sequence[str], draws: int, seed: int
) -> Interval:
    """Value and interval of one score.

    Args:
        score: from weights of the samples [D, S] to values [D].
        patients: cluster of each of the S samples.
        all_patients: the clusters of the whole task, so that every score of it sees the same draws.
        draws: number of draws.
        seed: of the draws.
    """
    value = float(score(np.ones((1, len(patients))))[0])
    blocks = []
    for names, counts in patient_counts(all_patients, draws=draws, seed=seed):
        at = np.searchsorted(names, list(patients))
        blocks.append(score(counts[:, at]))
    values = np.concatenate(blocks) if blocks else np.empty(0)
    influence = _influence(score, patients, sorted(set(all_patients)))
    return Interval(value, *limits(value, values, influence=influence), values, len(set(patients)), influence)


def _influence(score: Callable[[Floats], Floats], patients: Sequence[str], names: Sequence[str]) -> Floats | None:
    """From the values without each patient; one whose absence leaves nothing defined counts as moving nothing."""
    if not 2 <= len(names) < FEW_PATIENTS:
        return None
    left_out = score((1 - np.eye(len(names)))[:, np.searchsorted(names, list(patients))])
    known = left_out[~np.isnan(left_out)]
    centre = known.mean() if len(known) else 0.0
    influence: Floats = (len(names) - 1) * np.where(np.isnan(left_out), 0.0, centre - left_out)
    return influence


def limits(value: float, draws: Floats, level: float = 0.95, *, influence: Floats | None = None) -> tuple[float, float]:
    """Limits over the defined draws; NaN when the value or nearly all draws are undefined.

    Args:
        value: of the samples as they are.
        draws: values of the draws, [D].
        level: nominal coverage.
        influence: of each patient, [P], for few patients; None gives percentiles.
    """
    defined = draws[~np.isnan(draws)]
    if np.isnan(value) or len(defined) < 2:
        return float("nan"), float("nan")
    if influence is not None:
        ends = few_limits(np.array([value]), defined[:, None], influence[:, None], level=level)
        return float(ends[0][0]), float(ends[1][0])
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean(parts: Sequence[Interval]) -> Interval:
    """The mean over groups, draw by draw, leaving out what is undefined; the number of patients is the largest."""
    value = _nanmean(np.array([[p.value] for p in parts]))[0]
    draws = _nanmean(np.stack([p.draws for p in parts]))
    known = [p.influence for p in parts if p.influence is not None and not np.isnan(p.value)]
    influence = np.mean(known, axis=0) if known else None
    ends = limits(float(value), draws, influence=influence)
    return Interval(float(value), *ends, draws, max(p.patients for p in parts), influence)


def _nanmean(values_GD: Floats) -> Floats:
    defined = ~np.isnan(values_GD)
    n = defined.sum(axis=0)
    total = np.where(defined, values_GD, 0.0).sum(axis=0)
    result: Floats = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return result
