"""What the statistics share: the result type and safe division."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr_max.errors import DataError

Floats = NDArray[np.float64]


class Statistic(NamedTuple):
    """One number and what it rests on.

    Attributes:
        value: the statistic; NaN when undefined.
        n: units that entered it.
        n_undefined: units that were left out.
        reason: why the value is NaN; empty otherwise.
    """

    value: float
    n: int
    n_undefined: int = 0
    reason: str = ""


def undefined(reason: str, *, n: int = 0, n_undefined: int = 0) -> Statistic:
    """A statistic that has no value, and why."""
    return Statistic(float("nan"), n, n_undefined, reason)


def divide(numerator: ArrayLike, denominator: ArrayLike, *, tiny: float = 1e-12) -> Floats:
    """Element-wise quotient; NaN where the denominator is not above `tiny` in size."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=np.abs(bottom) > tiny)
    return out


def matrix(values: Any, name: str) -> Floats:
    """A two-dimensional float array; one dimension counts as one column.

    Raises:
        DataError: more than two dimensions.
    """
    array = np.asarray(values, dtype=float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(f"{name} has {array.ndim} dimensions, two were expected: rows are samples")
    return array


def entropy_bits(p: ArrayLike, axis: int = -1) -> Floats:
    """Shannon entropy in bits of probabilities along an axis; 0 log 0 = 0."""
    array = np.asarray(p, dtype=float)
    logs = np.log2(array, out=np.zeros_like(array), where=array > 0)
    result: Floats = -(array * logs).sum(axis=axis)
    return result
