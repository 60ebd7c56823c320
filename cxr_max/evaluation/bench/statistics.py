"""Intervals and tests over seeds and patients together.

A draw resamples the seeds and, for all rows and seeds alike, the patients with all their images; rows are paired by
both, since a seed's rows share their sft checkpoint. With S seeds a plain bootstrap over them is too narrow by
sqrt((S - 1) / S); the seeds' part of each draw is widened by its inverse. With one seed only patients vary, which says
nothing about training noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cxr_max.drift.resample import smallest_detectable
from cxr_max.errors import DataError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.bench.config import Endpoint
from cxr_max.evaluation.bench.results import Result, Stored
from cxr_max.evaluation.intervals import Floats, limits

Score = Callable[[Floats], Floats]
"""From weights of the patients [D, P] to values [D]."""


class Estimate(NamedTuple):
    """A value over seeds with its 95 % interval and draws."""

    value: float
    low: float
    high: float
    draws: Floats
    seeds: int


class Contrast(NamedTuple):
    """One row minus another over their common seeds; p two-sided from the draws, at least 2 / (D + 1)."""

    value: float
    low: float
    high: float
    p: float
    detectable: float
    seeds: int


class Draws(NamedTuple):
    """What was resampled: names of the patients, their counts [D, P], and the seed of the picks."""

    patients: tuple[str, ...]
    counts_DP: Floats
    seed: int

    def picks(self, n: int) -> Floats:
        """How often each of n seeds is taken in each draw, [D, n]."""
        rng = np.random.default_rng([self.seed, 2, n])
        return rng.multinomial(n, np.full(n, 1 / n), size=len(self.counts_DP)).astype(np.float64)


def draws_of(results: Sequence[Result], *, draws: int, seed: int = 0) -> Draws:
    """The draws of one table.

    Raises:
        DataError: the results are not about the same patients.
    """
    sets = {tuple(sorted({p for m in r.measures for p in m.patients})) for r in results if r.measures}
    if len(sets) != 1:
        raise DataError(f"the results are about {len(sets)} different sets of patients, so no table can be made")
    patients = sets.pop()
    rng = np.random.default_rng([seed, 1])
    counts = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=draws)
    return Draws(patients, counts.astype(np.float64), seed)


def score_of(result: Result, end: Endpoint, patients: Sequence[str]) -> Score:
    """A score of one result as a function of the patients' weights; group `mean` is the mean over groups.

    Raises:
        DataError: no measure of the result gives this score.
    """
    parts = measures_for(result, end)
    if not parts:
        raise DataError(f"result {result.row}, seed {result.seed}, has no score {end.score} for {end.group}")
    ats = [np.searchsorted(patients, list(m.patients)) for m in parts]

    def values(weights_DP: Floats) -> Floats:
        each = [
            metrics.get(m.metric).aggregate(m.stats, weights_DP[:, at])[end.score]
            for m, at in zip(parts, ats, strict=True)
        ]
        return nanmean(np.stack(each), axis=0)

    return values


def measures_for(result: Result, end: Endpoint) -> list[Stored]:
    """The measures of a result that an endpoint is computed from; several for the mean over groups."""
    mine = [m for m in result.measures if m.task == end.task and end.group in ("mean", m.group)]
    return [m for m in mine if end.score in scores(m)]


def scores(measure: Stored) -> set[str]:
    """Names of the scores a measure gives."""
    return set(metrics.get(measure.metric).aggregate(measure.stats))


def nanmean(values: Floats, axis: int, weights: Floats | None = None) -> Floats:
    """Weighted mean of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    share = defined.astype(float) if weights is None else defined * weights
    total, n = np.where(defined, values, 0.0) * (share > 0) * share, share.sum(axis=axis)
    result: Floats = np.divide(total.sum(axis=axis), n, out=np.full(n.shape, np.nan), where=n > 0)
    return result


def estimate(by_seed: Mapping[int, Score], draws: Draws) -> Estimate:
    """Mean over seeds of a score, with its interval over seeds and patients."""
    value, drawn, values_SD = _drawn(by_seed, draws)
    low, high = limits(value, drawn)
    if not (values_SD < 0).any():
        # The widening of the seeds' part knows nothing of a score's range: a rate of .001 would reach below 0.
        low = max(low, 0.0)
    return Estimate(value, low, high, drawn, len(by_seed))


def _drawn(by_seed: Mapping[int, Score], draws: Draws) -> tuple[float, Floats, Floats]:
    scores = [by_seed[s] for s in sorted(by_seed)]
    ones = np.ones((1, len(draws.patients)))
    value = float(nanmean(np.stack([f(ones) for f in scores]), axis=0)[0])
    values_SD = np.stack([f(draws.counts_DP) for f in scores])
    whole = nanmean(values_SD, axis=0)
    n = len(scores)
    if n == 1:
        return value, whole, values_SD
    picked = nanmean(values_SD, axis=0, weights=draws.picks(n).T)
    return value, whole + np.sqrt(n / (n - 1)) * (picked - whole), values_SD


def contrast(one: Mapping[int, Score], other: Mapping[int, Score], draws: Draws) -> Contrast:
    """`one` minus `other` over the seeds both have; undefined when there is none."""
    nothing = float("nan")
    common = sorted(set(one) & set(other))
    if not common:
        return Contrast(nothing, nothing, nothing, nothing, nothing, 0)

    def minus(s: int) -> Score:
        return lambda weights: one[s](weights) - other[s](weights)

    value, drawn, _ = _drawn({s: minus(s) for s in common}, draws)
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(defined) < 2:
        return Contrast(value, nothing, nothing, nothing, nothing, len(common))
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (len(defined) + 1))
    detectable = float(smallest_detectable(float(defined.std(ddof=1))))
    return Contrast(value, *limits(value, drawn), p, detectable, len(common))


def length_matched(
    results: Sequence[Result], patients: Sequence[str], *, bins: int = 5
) -> dict[tuple[str, int], Score]:
    """Precision of claims as it would be if every row's answers had the same lengths.

    Answers are cut into bins of words at the quantiles of all rows' answers together; a row's precision in each bin is
    weighted by that bin's share of all claims (direct standardisation). A bin without claims of the row is left out.

    Returns:
        A score for each row and seed that has claims and lengths.
    """
    found = {(r.row, r.seed): _pair(r) for r in results}
    pairs = {k: p for k, p in found.items() if p is not None}
    if not pairs:
        return {}
    words = np.concatenate([style.stats[:, 0] for _, style in pairs.values()])
    edges = np.quantile(words, np.arange(1, bins) / bins)
    shares = np.zeros(bins)
    for claims, style in pairs.values():
        np.add.at(shares, np.digitize(style.stats[:, 0], edges), claims.stats[:, 0])
    return {key: _standardised(c, s, edges, shares, patients) for key, (c, s) in pairs.items()}


def _pair(result: Result) -> tuple[Stored, Stored] | None:
    by = {m.metric: m for m in result.measures}
    return (by["claims"], by["style"]) if {"claims", "style"} <= set(by) else None


def _standardised(claims: Stored, style: Stored, edges: Floats, shares: Floats, patients: Sequence[str]) -> Score:
    at = np.searchsorted(patients, list(claims.patients))
    bin_S = np.digitize(style.stats[:, 0], edges)

    def values(weights_DP: Floats) -> Floats:
        weights = weights_DP[:, at]
        each = []
        for b in range(len(shares)):
            said, right = (weights[:, bin_S == b] @ claims.stats[bin_S == b][:, [0, 1]]).T
            each.append(np.divide(right, said, out=np.full(said.shape, np.nan), where=said > 0))
        return nanmean(np.stack(each), axis=0, weights=np.repeat(shares[:, None], len(weights), axis=1))

    return values
