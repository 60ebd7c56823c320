"""Intervals and tests over seeds and patients together.

Two levels vary: the patients a test split holds and the seeds a row is trained with. For all rows and seeds alike the
patients are resampled with all their images, which gives the patients' part of the variance of a mean over seeds; the
seeds' part is their sample variance over their number, what resampling them gives without its bias of (S - 1) / S.
Rows are paired by both, since a seed's rows share their sft checkpoint. Tails are Student's t with the degrees of
freedom of both parts (Welch and Satterthwaite): percentiles over three or five seeds reject far too often. What a
patient does at one seed alone stands in both parts, so the intervals are rather too wide than too narrow. With one seed
only patients vary, which says nothing about training noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cxr_max.drift.resample import smallest_detectable
from cxr_max.errors import DataError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.bench.config import Endpoint
from cxr_max.evaluation.bench.results import Result, Stored
from cxr_max.evaluation.intervals import Floats
from cxr_max.optional import require

Score = Callable[[Floats], Floats]
"""From weights of the patients [D, P] to values [D]."""


class Estimate(NamedTuple):
    """A value over seeds with its 95 % interval."""

    value: float
    low: float
    high: float
    seeds: int


class Contrast(NamedTuple):
    """One row minus another over their common seeds.

    Attributes:
        value: the mean difference.
        low, high: ends of its 95 % interval.
        p: two-sided; undefined where nothing varies and the difference is not 0.
        detectable: smallest true difference that a single test at .05 finds with a power of .8.
        seeds: how many both have.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float
    seeds: int


class Spread(NamedTuple):
    """A mean over seeds, its standard error over seeds and patients, and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Ends of the interval."""
        reach = float(require("scipy.special", extra="eval").stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.value - reach, self.value + reach

    def p(self) -> float:
        """Two-sided against 0."""
        if self.error == 0:
            # Rows that gave the same answers are equal; without any spread a difference has no test.
            return 1.0 if self.value == 0 else float("nan")
        tail = require("scipy.special", extra="eval").stdtr(self.freedom, -abs(self.value) / self.error)
        return float(2 * tail)


class Draws(NamedTuple):
    """What was resampled: names of the patients, and their counts [D, P]."""

    patients: tuple[str, ...]
    counts_DP: Floats


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
    return Draws(patients, counts.astype(np.float64))


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


def metric_of(result: Result, end: Endpoint) -> metrics.Metric:
    """The metric that gives the score of an endpoint."""
    return metrics.get(measures_for(result, end)[0].metric)


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


def estimate(by_seed: Mapping[int, Score], draws: Draws, *, rate: bool = False) -> Estimate:
    """Mean over seeds of a score, with its interval over seeds and patients; that of a `rate` stays in [0, 1]."""
    spread = spread_of(by_seed, draws)
    low, high = spread.limits()
    if rate:
        low, high = max(low, 0.0), min(high, 1.0)
    return Estimate(spread.value, low, high, len(by_seed))


def spread_of(by_seed: Mapping[int, Score], draws: Draws) -> Spread:
    """Mean over seeds with the standard error of both levels; undefined with fewer than two draws or patients."""
    scores = [by_seed[s] for s in sorted(by_seed)]
    each = np.concatenate([f(np.ones((1, len(draws.patients)))) for f in scores])
    each = each[~np.isnan(each)]
    drawn = nanmean(np.stack([f(draws.counts_DP) for f in scores]), axis=0)
    drawn = drawn[~np.isnan(drawn)]
    n, patients = len(each), len(draws.patients)
    value = float(each.mean()) if n else float("nan")
    if not n or len(drawn) < 2 or patients < 2:
        return Spread(value, float("nan"), float("nan"))
    parts = [(float(drawn.var(ddof=1)), patients - 1)]
    if n > 1:
        parts.append((float(each.var(ddof=1)) / n, n - 1))
    total = sum(v for v, _ in parts)
    if total == 0:
        return Spread(value, 0.0, float(patients - 1))
    return Spread(value, total**0.5, total**2 / sum(v**2 / freedom for v, freedom in parts))


def contrast(one: Mapping[int, Score], other: Mapping[int, Score], draws: Draws) -> Contrast:
    """`one` minus `other` over the seeds both have; undefined when there is none."""
    common = sorted(set(one) & set(other))
    if not common:
        nothing = float("nan")
        return Contrast(nothing, nothing, nothing, nothing, nothing, 0)

    def minus(s: int) -> Score:
        return lambda weights: one[s](weights) - other[s](weights)

    spread = spread_of({s: minus(s) for s in common}, draws)
    detectable = float(smallest_detectable(spread.error, freedom=spread.freedom))
    return Contrast(spread.value, *spread.limits(), spread.p(), detectable, len(common))


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
