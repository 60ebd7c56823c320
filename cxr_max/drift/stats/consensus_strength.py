"""Consensus of the teachers on one instance: mean pair agreement over the cells at least one of them mentions.

A cell is asserted or not; agreement of a cell as in `vote_entropy`. 1 = all teachers alike.
"""

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, divide


def compute(sets_INC: ArrayLike, given_IN: ArrayLike) -> Floats:
    """Consensus in [0, 1] per instance; NaN with fewer than two teachers or when nobody mentions anything.

    Args:
        sets_INC: instances x teachers x cells, bool.
        given_IN: whether the teacher has a trajectory for the instance.
    """
    given = np.asarray(given_IN, dtype=bool)
    yes = (np.asarray(sets_INC, dtype=bool) & given[..., None]).sum(axis=1).astype(float)
    n = given.sum(axis=1)[:, None].astype(float)
    agreement = divide(yes * (yes - 1) + (n - yes) * (n - yes - 1), n * (n - 1))
    mentioned = yes > 0
    return divide(np.where(mentioned, np.nan_to_num(agreement), 0.0).sum(axis=1), mentioned.sum(axis=1) * (n[:, 0] > 1))
