"""Control of multiplicity inside a declared family: Benjamini-Hochberg, Benjamini-Yekutieli, Holm.

Undefined p-values stay undefined and do not count towards the family.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats
from cxr_max.errors import UnknownNameError
from cxr_max.optional import require

METHODS = ("bh", "by", "holm")


def adjust(p_values: ArrayLike, method: Literal["bh", "by", "holm"] = "bh") -> Floats:
    """Adjusted p-values of one family.

    Args:
        p_values: in [0, 1], NaN = undefined.
        method: `bh` (false discovery rate, positive dependence), `by` (any dependence), `holm` (family-wise error).

    Raises:
        UnknownNameError: another method.
    """
    if method not in METHODS:
        raise UnknownNameError.of("correction", method, METHODS)
    p = np.asarray(p_values, dtype=float)
    out = np.full(p.shape, np.nan)
    defined = ~np.isnan(p)
    if not defined.any():
        return out
    if method == "holm":
        multitest = require("statsmodels.stats.multitest", extra="drift")
        out[defined] = multitest.multipletests(p[defined], method="holm")[1]
    else:
        out[defined] = require("scipy.stats", extra="drift").false_discovery_control(p[defined], method=method)
    return out
