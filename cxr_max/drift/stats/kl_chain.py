"""Kullback-Leibler divergence split into history and increment (the two factors of the paper's Eq. 3/4).

    KL(P || Q) = KL(P_t || Q_t) + sum_t P_t KL(P_{z|t} || Q_{z|t}), in nats

The chain rule makes the first the accumulated historical divergence and the second the instantaneous drift. It holds
for KL only, not for Jensen-Shannon, energy or MMD.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, divide


class Chain(NamedTuple):
    """`total` = `history` + `increment`, in nats; arrays over the leading axes of the input."""

    total: Floats
    history: Floats
    increment: Floats


def _kl(p: Floats, q: Floats, axis: int | tuple[int, ...]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(p > 0, p * np.log(p / q), 0.0)
    result: Floats = each.sum(axis=axis)
    return result


def compute(p_TZ: ArrayLike, q_TZ: ArrayLike) -> Chain:
    """Split KL(P || Q) of joint tables with history on the second-last axis and increment on the last.

    Tables are normalised; infinite where P has mass outside of Q's support (smooth counts first), NaN for an empty
    table.
    """
    p, q = np.asarray(p_TZ, dtype=float), np.asarray(q_TZ, dtype=float)
    p = divide(p, p.sum(axis=(-2, -1), keepdims=True))
    q = divide(q, q.sum(axis=(-2, -1), keepdims=True))
    undefined = np.isnan(p).any(axis=(-2, -1)) | np.isnan(q).any(axis=(-2, -1))
    total = _kl(p, q, (-2, -1))
    history = _kl(p.sum(axis=-1), q.sum(axis=-1), -1)
    with np.errstate(invalid="ignore"):
        increment = np.where(np.isinf(total) & np.isinf(history), np.nan, total - history)
    return Chain(*(np.where(undefined, np.nan, part) for part in (total, history, increment)))
