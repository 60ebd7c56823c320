"""Votes of the teachers on one yes/no question: entropy in bits and observed pair agreement.

H = -q log2 q - (1 - q) log2 (1 - q), q = n_+ / n;  A = (n_+ (n_+ - 1) + n_- (n_- - 1)) / (n (n - 1))
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, divide, entropy_bits


class Votes(NamedTuple):
    """Per unit: `entropy` in [0, 1] bits, NaN without a vote; `agreement` in [0, 1], NaN below two votes."""

    entropy: Floats
    agreement: Floats


def compute(n_positive: ArrayLike, n: ArrayLike) -> Votes:
    """Entropy and pair agreement of `n_positive` yes votes among `n`, element-wise."""
    yes, total = np.broadcast_arrays(np.asarray(n_positive, dtype=float), np.asarray(n, dtype=float))
    share = divide(yes, total)
    entropy = np.where(np.isnan(share), np.nan, entropy_bits(np.stack([share, 1 - share], axis=-1)))
    no = total - yes
    return Votes(entropy, divide(yes * (yes - 1) + no * (no - 1), total * (total - 1)))
