"""One change in the mean of a short series, by exact search; several in a long one, by PELT.

    drop = cost(whole) - min_k [cost(first k) + cost(rest)], cost = squared deviations from the segment's mean

Exact for series of up to some hundred points. For longer ones `segments` uses ruptures with jump=1: its Pelt, Dynp and
Binseg look at every fifth point only unless told otherwise. Source: C. Truong et al., Signal Processing
2020;167:107299.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, matrix
from cxr_max.optional import require


class ChangePoint(NamedTuple):
    """`first`: first point after the change, None without one; `drop` of cost >= 0; `ends`: ends of the segments."""

    first: int | None
    drop: float
    ends: tuple[int, ...]


def drops(series_BT: ArrayLike, *, min_size: int = 2) -> Floats:
    """Drop of cost at every admissible split of many series at once; B x T, -inf where a split is not allowed."""
    series = np.atleast_2d(np.asarray(series_BT, dtype=float))
    n = series.shape[1]
    out = np.full(series.shape, -np.inf)
    if n < 2 * min_size:
        return out
    k = np.arange(1, n)
    left = np.cumsum(series, axis=1)[:, :-1]
    right = series.sum(axis=1, keepdims=True) - left
    gap = left / k - right / (n - k)
    between = gap**2 * k * (n - k) / n
    out[:, min_size : n - min_size + 1] = between[:, min_size - 1 : n - min_size]
    return out


def compute(series_T: ArrayLike, *, min_size: int = 2) -> ChangePoint:
    """The one split of a series that lowers the cost most; none for a constant or too short series."""
    series = np.asarray(series_T, dtype=float)
    gains = drops(series, min_size=min_size)[0]
    best = int(np.argmax(gains)) if len(gains) else 0
    scale = float(np.nansum((series - np.nanmean(series)) ** 2)) if len(series) else 0.0
    if not len(gains) or not np.isfinite(gains[best]) or gains[best] <= 1e-12 * max(scale, 1e-12):
        return ChangePoint(None, 0.0, (len(series),))
    return ChangePoint(best, float(gains[best]), (best, len(series)))


def segments(series_TD: ArrayLike, *, penalty: float | None = None, min_size: int = 2) -> tuple[int, ...]:
    """Ends of the segments of a long series by PELT (L2 cost, jump 1).

    Args:
        series_TD: points x dimensions.
        penalty: cost of one more change; 2 s^2 log(n) d when None, s from the median absolute difference.
        min_size: shortest segment.
    """
    series = matrix(series_TD, "series")
    if len(series) < 2 * min_size:
        return (len(series),)
    if penalty is None:
        noise = np.median(np.abs(np.diff(series, axis=0))) / (0.6745 * np.sqrt(2))
        penalty = max(2 * float(noise) ** 2 * np.log(len(series)) * series.shape[1], 1e-9)
    model = require("ruptures", extra="drift").Pelt(model="l2", jump=1, min_size=min_size).fit(series)
    return tuple(int(end) for end in model.predict(pen=penalty))
