"""Precision and recall against the report of *another* patient with the same prompted diseases.

Whoever writes the textbook signs of the named diseases scores well without looking at the image; what lies above this
baseline is what the trajectory says about its own image. Each draw deranges the instances of a group (same diseases,
same view), so that nobody meets a report of the own patient.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr_max.drift.bits import Sets
from cxr_max.drift.stats import finding_alignment
from cxr_max.drift.stats._common import Floats, divide

Codes = NDArray[np.int64]


class Shuffled(NamedTuple):
    """Per candidate row the mean over draws of `precision` and `recall` (NaN if never defined), and `matched`."""

    precision: Floats
    recall: Floats
    matched: NDArray[np.bool_]
    draws_precision: Floats
    draws_recall: Floats


def partners(group_I: ArrayLike, patient_I: ArrayLike, rng: np.random.Generator) -> Codes:
    """For each instance another one of its group with a different patient, or -1.

    Where no patient holds more than half of a group this is a derangement of the group: patients stand in random order
    and everybody takes the report k places further, k at least the largest number of instances of a patient. Elsewhere
    the partner is drawn at random from the other patients.
    """
    group = np.unique(np.asarray(group_I), return_inverse=True)[1]
    patient = np.unique(np.asarray(patient_I), return_inverse=True)[1]
    n = len(group)
    if not n:
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((rng.random(n), patient, rng.random(int(patient.max()) + 1)[patient], group))
    g, p = group[order], patient[order]
    new_group = np.concatenate([[True], g[1:] != g[:-1]])
    new_block = new_group | np.concatenate([[True], p[1:] != p[:-1]])
    starts = np.flatnonzero(new_group)
    size = np.diff(np.append(starts, n))
    block_starts = np.flatnonzero(new_block)
    block_size = np.diff(np.append(block_starts, n))
    largest = np.maximum.reduceat(block_size, np.searchsorted(block_starts, starts))
    which, block = np.cumsum(new_group) - 1, np.cumsum(new_block) - 1
    start, m = starts[which], size[which]
    room = np.maximum(size - 2 * largest + 1, 1)
    shift = (largest + (rng.random(len(size)) * room).astype(np.int64))[which]
    place = np.arange(n) - start
    deranged = start + (place + shift) % m
    own = block_size[block]
    first = block_starts[block] - start
    other = (rng.random(n) * np.maximum(m - own, 1)).astype(np.int64)
    drawn = start + other + np.where(other >= first, own, 0)
    chosen = np.where(2 * largest[which] <= m, deranged, drawn)
    result = np.full(n, -1, dtype=np.int64)
    possible = m > own
    result[order[possible]] = order[chosen[possible]]
    return result


def draw_partners(
    fine_I: ArrayLike, coarse_I: ArrayLike, patient_I: ArrayLike, *, draws: int, seed: int
) -> Iterator[Codes]:
    """Partners per draw from the finer groups (diseases and view), else from the coarser ones (diseases), else -1."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        fine = partners(fine_I, patient_I, rng)
        yield np.where(fine >= 0, fine, partners(coarse_I, patient_I, rng))


def compute(
    candidate: Sets,
    reference: Sets,
    instance_T: ArrayLike,
    fine_I: ArrayLike,
    coarse_I: ArrayLike,
    patient_I: ArrayLike,
    *,
    plan: tuple[int, int] = (200, 0),
) -> Shuffled:
    """Mean precision and recall against the partners' reports.

    Args:
        candidate: one row per trajectory.
        reference: one row per instance.
        instance_T: row of `reference` that is the trajectory's own.
        fine_I: group of each instance within which partners are sought first (diseases and view).
        coarse_I: group for those without a partner there (diseases).
        patient_I: patient of each instance.
        plan: number of draws, seed.
    """
    instance = np.asarray(instance_T)
    sums, defined = np.zeros((2, len(instance))), np.zeros((2, len(instance)))
    matched = np.zeros(len(instance), dtype=bool)
    means = np.full((2, plan[0]), np.nan)
    for draw, partner in enumerate(draw_partners(fine_I, coarse_I, patient_I, draws=plan[0], seed=plan[1])):
        row = partner[instance]
        has = row >= 0
        matched |= has
        other = Sets(reference.own[row], reference.entailed[row])
        overlap = finding_alignment.compute(candidate, other)
        for side, value in enumerate((overlap.precision, overlap.recall)):
            known = has & ~np.isnan(value)
            sums[side] += np.where(known, value, 0.0)
            defined[side] += known
            means[side, draw] = float(divide(value[known].sum(), known.sum()))
    precision, recall = divide(sums, defined)
    return Shuffled(precision, recall, matched, means[0], means[1])
