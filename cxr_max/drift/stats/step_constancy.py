"""Does the divergence between teachers stay the same along the reasoning? The restricted-permutation test.

    G_t = generalised Jensen-Shannon over teachers of what they assert in bin t;
    statistics max_t |G_t - mean G| and Spearman's rank correlation of G_t with t

Cumulative states change with j by construction, so the null permutes, inside each trajectory (or each of its
sections), the contents of its finding-bearing steps only; generic and summary steps keep their places, every
permutation has the same mass per bin, and the plug-in bias of G_t is the same in all. Shuffling all steps is invalid
where density varies.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr_max.drift import permute
from cxr_max.drift.stats import change_point, jensen_shannon
from cxr_max.drift.stats._common import Floats, divide

Ints = NDArray[np.int64]


class Slots(NamedTuple):
    """Places of finding-bearing steps, in order of their group.

    Attributes:
        group: trajectory, or trajectory and section; contents move inside it. Ascending.
        teacher: code 0..U-1.
        topic: code 0..D-1 (all 0 for the plain curve).
        bin: 0..K-1.
        weight: mass, constant inside a trajectory.
        owner: slot of each content item.
        cell: 0..C-1 of each content item.
        share: share of the slot's mass of each content item.
    """

    group: Ints
    teacher: Ints
    topic: Ints
    bin: Ints
    weight: Floats
    owner: Ints
    cell: Ints
    share: Floats


class Constancy(NamedTuple):
    """Result of the test.

    Attributes:
        curve: G_t in bits, NaN where fewer than two teachers assert anything.
        expected: mean of G_t under the null; its shape is the bias that density alone makes.
        deviation: max_t |G_t - mean G|.
        p: of the deviation.
        slope: Spearman correlation of G_t with t.
        p_slope: two-sided, of the slope.
        change: first bin after the one best change of the mean, or None.
        p_change: of the cost drop.
        null_deviation: deviations under the null.
        detectable_trend: smallest rise in bits, from the first to the last bin of a straight trend, that the slope
            test would find with power .8; NaN when no rise would, as with three bins.
        detectable_change: the same for a step in the middle and the change-point test.
        n_slots: finding-bearing steps.
        n_movable: of them in a group of two or more.
    """

    curve: Floats
    expected: Floats
    deviation: float
    p: float
    slope: float
    p_slope: float
    change: int | None
    p_change: float
    null_deviation: Floats
    detectable_trend: float
    detectable_change: float
    n_slots: int
    n_movable: int


def tables(slots: Slots, shape: tuple[int, int, int, int], order: Ints | None = None) -> Floats:
    """topics x bins x teachers x cells mass, after moving contents by `order` (slot of slot)."""
    d, k, u, c = shape
    place = slots.owner if order is None else order[slots.owner]
    flat = ((slots.topic[place] * k + slots.bin[place]) * u + slots.teacher[place]) * c + slots.cell
    mass = slots.weight[place] * slots.share
    return np.bincount(flat, weights=mass, minlength=d * k * u * c).astype(float).reshape(shape)


def curve(mass_DKUC: ArrayLike) -> Floats:
    """G_t: Jensen-Shannon per topic and bin, averaged over topics by their mass; leading axes are kept."""
    mass = np.asarray(mass_DKUC, dtype=float)
    each = jensen_shannon.from_counts(mass)
    weight = np.where(np.isnan(each), 0.0, mass.sum(axis=(-3, -2, -1))[..., None])
    return divide((np.nan_to_num(each) * weight).sum(axis=-2), weight.sum(axis=-2))


def deviations(curves_BK: Floats) -> Floats:
    """max_t |G_t - mean G| of each curve."""
    curves = np.atleast_2d(curves_BK)
    if np.isnan(curves).all():
        return np.full(len(curves), np.nan)
    centre = np.nanmean(curves, axis=1, keepdims=True)
    return np.asarray(np.nanmax(np.abs(curves - centre), axis=1))


def slopes(curves_BK: Floats) -> Floats:
    """Spearman correlation of each curve with its bin, ties at mid-rank; NaN below three bins or without spread."""
    curves = np.atleast_2d(curves_BK)
    known = ~np.isnan(curves[0])
    kept = curves[:, known]
    if kept.shape[1] < 3:
        return np.full(len(curves), np.nan)
    ranks = ((kept[:, :, None] > kept[:, None, :]) + 0.5 * (kept[:, :, None] == kept[:, None, :])).sum(axis=2)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    time = np.arange(kept.shape[1]) - (kept.shape[1] - 1) / 2
    return divide(ranks @ time, np.sqrt((ranks**2).sum(axis=1) * (time**2).sum()))


def _null(
    slots: Slots, shape: tuple[int, int, int, int], sizes: Ints, permutations: int, rng: np.random.Generator
) -> Floats:
    """Curves under the null; small tables go through `curve` together, where the time is spent for few data."""
    blocks = permute.blocks_of(sizes)
    together = max(1, int(2e6) // int(np.prod(shape)))
    curves = []
    for start in range(0, permutations, together):
        some = range(min(together, permutations - start))
        stacked = np.stack([tables(slots, shape, permute.within_groups(sizes, rng, blocks)) for _ in some])
        curves.append(curve(stacked))
    return np.concatenate(curves) if curves else np.zeros((0, shape[1]))


def largest_drops(curves_BK: Floats) -> Floats:
    """Largest drop of cost by one change, of each curve; NaN below four known bins."""
    curves = np.atleast_2d(curves_BK)
    known = ~np.isnan(curves[0])
    return change_point.drops(curves[:, known]).max(axis=1) if known.sum() >= 4 else np.full(len(curves), np.nan)


def smallest_detectable(
    null_BK: Floats, pattern_K: ArrayLike, statistic: Callable[[Floats], Floats], *, alpha: float = 0.05
) -> float:
    """Smallest multiple of a pattern, added to curves as they are under the null, that is found with power .8.

    Args:
        null_BK: curves under the null.
        pattern_K: what is added, one per bin.
        statistic: of curves, larger = less constant; the critical value is that of the permutation test.
        alpha: level of the test.
    """
    allowed = int(alpha * (len(null_BK) + 1) + 1e-9) - 1
    values = statistic(null_BK) if allowed >= 0 else np.full(1, np.nan)
    if np.isnan(values).any():
        return float("nan")
    critical = float(np.sort(values)[len(values) - 1 - allowed]) + 1e-9
    pattern = np.asarray(pattern_K, dtype=float)

    def power(size: float) -> float:
        return float((statistic(null_BK + size * pattern) > critical).mean())

    # The largest rise makes the noise of the curves irrelevant.
    low, high = 0.0, 1e3 * float(np.nanmax(null_BK) - np.nanmin(null_BK))
    if not power(high) >= 0.8:
        return float("nan")
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= 0.8 else (middle, high)
    return high


def compute(slots: Slots, shape: tuple[int, int, int, int], *, permutations: int = 199, seed: int = 0) -> Constancy:
    """Test that G_t is constant.

    Args:
        slots: finding-bearing steps and their contents.
        shape: numbers of topics, bins, teachers and cells.
        permutations: random permutations.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    sizes = np.unique(slots.group, return_counts=True)[1]
    observed = curve(tables(slots, shape))
    null = _null(slots, shape, sizes, permutations, rng)
    both = np.concatenate([observed[None], null])
    deviation, slope = deviations(both), slopes(both)
    known = ~np.isnan(observed)
    drop = largest_drops(both)
    bins = np.arange(shape[1])
    change = change_point.compute(observed[known]).first if known.sum() >= 4 else None
    with np.errstate(invalid="ignore"):
        expected = null.mean(axis=0)
    return Constancy(
        observed, expected, float(deviation[0]), permute.p_value(float(deviation[0]), deviation[1:]),
        float(slope[0]), permute.p_value(abs(float(slope[0])), np.abs(slope[1:])),
        None if change is None else int(np.flatnonzero(known)[change]), permute.p_value(float(drop[0]), drop[1:]),
        deviation[1:],
        smallest_detectable(null, bins / max(shape[1] - 1, 1), lambda c: np.abs(slopes(c))),
        smallest_detectable(null, bins >= shape[1] / 2, largest_drops),
        len(slots.group), int(sizes[sizes > 1].sum()),
    )  # fmt: skip
