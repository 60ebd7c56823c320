"""How far each teacher's set of findings lies from the majority of the other teachers on the same instance.

d_i^u = 1 - |A & M| / |A | M|, A = the teacher's set, M = cells asserted by at least half of the others (both empty: 0)
z_i^u = (d_i^u - median_u d) / (1.4826 MAD_u d + epsilon)
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, divide

EPSILON = 0.05
"""Keeps z finite when most teachers lie equally far; about one cell in twenty."""


class Outliers(NamedTuple):
    """Per instance and teacher: Jaccard `distance` in [0, 1] and robust `z`; NaN without the teacher or another one."""

    distance: Floats
    z: Floats


def distances(sets_INC: ArrayLike, given_IN: ArrayLike) -> Floats:
    """Jaccard distance to the leave-one-out majority.

    Args:
        sets_INC: instances x teachers x cells, bool.
        given_IN: whether the teacher has a trajectory for the instance.
    """
    given = np.asarray(given_IN, dtype=bool)
    sets = np.asarray(sets_INC, dtype=bool) & given[..., None]
    others = (given.sum(axis=1)[:, None] - given).astype(np.int16)
    votes = sets.sum(axis=1, dtype=np.int16)[:, None, :] - sets
    majority = (2 * votes >= others[..., None]) & (votes > 0)
    union = (sets | majority).sum(axis=2)
    jaccard = 1 - divide((sets & majority).sum(axis=2), union)
    jaccard = np.where(union == 0, 0.0, jaccard)
    return np.where(given & (others > 0), jaccard, np.nan)


def robust_z(values_IN: ArrayLike) -> Floats:
    """(value - median) / (1.4826 MAD + EPSILON) along the last axis, over the values that are not NaN."""
    values = np.asarray(values_IN, dtype=float)
    defined = ~np.isnan(values).all(axis=-1)
    out = np.full(values.shape, np.nan)
    some = values[defined]
    centre = np.nanmedian(some, axis=-1, keepdims=True) if some.size else some
    spread = np.nanmedian(np.abs(some - centre), axis=-1, keepdims=True) if some.size else some
    out[defined] = (some - centre) / (1.4826 * spread + EPSILON)
    return out


def compute(sets_INC: ArrayLike, given_IN: ArrayLike) -> Outliers:
    """Distances and robust z; arguments as in `distances`."""
    d = distances(sets_INC, given_IN)
    return Outliers(d, robust_z(d))
