"""Total correlation of the teachers' states: how far they are from independent.

    TC = sum_u H(S^u) - H(S^1 ... S^N), in bits, >= 0 (plug-in)

Given the image and the prompt the teachers are independent; pooled over images they are not, since they look at the
same image. The plug-in value is biased upwards: compare it with shuffles of studies within each teacher.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, Statistic, entropy_bits, undefined


class Dependence(NamedTuple):
    """`observed` total correlation and one `shuffled` value per draw, both in bits."""

    observed: float
    shuffled: Floats


def _entropy(codes: np.ndarray) -> float:
    _, counts = np.unique(codes, return_counts=True)
    return float(entropy_bits(counts / counts.sum()))


def _joint(states: np.ndarray) -> np.ndarray:
    code = np.zeros(len(states), dtype=np.int64)
    for column in states.T:
        _, digits = np.unique(column, return_inverse=True)
        _, code = np.unique(code * (int(digits.max()) + 1) + digits, return_inverse=True)
    return code


def compute(states_UN: ArrayLike) -> Statistic:
    """Total correlation of units x teachers, states as integers; NaN without a unit or with one teacher."""
    states = np.asarray(states_UN)
    if states.ndim != 2 or not len(states) or states.shape[1] < 2:
        return undefined("no unit, or fewer than two teachers", n=len(states))
    value = sum(_entropy(column) for column in states.T) - _entropy(_joint(states))
    return Statistic(max(float(value), 0.0), len(states))


def shuffled(states_UN: ArrayLike, *, draws: int, seed: int) -> Dependence:
    """Total correlation beside its null: studies shuffled within each teacher (margins kept exactly)."""
    states = np.asarray(states_UN)
    rng = np.random.default_rng(seed)
    null = [compute(rng.permuted(states, axis=0)).value for _ in range(draws)]
    return Dependence(compute(states).value, np.array(null, dtype=float))
