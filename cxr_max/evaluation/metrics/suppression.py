"""How much less likely a model finds a teacher's wrong clause than its corrected twin, at the same place of its text.

`log_ratio`: mean over clauses of log p(wrong) / tokens - log p(twin) / tokens, in nats per token, given image, question
and the teacher's text before the clause; below 0 the wrong clause is suppressed. A wrong clause and its twin differ in
wording as well, so the value of one model says little: what counts is how it moves from base to SFT to APO.
`prefers_twin`: share of clauses whose twin is the likelier one per token.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.errors import UsageError

NAME, VERSION = "suppression", "1"
TYPES = ("floats", "string")
BETTER = {"log_ratio": -1}


def statistics(*, predictions: Sequence[tuple[float, float] | None], references: Sequence[Any]) -> Any:
    """Rows of [log ratio, twin is likelier, is defined].

    Args:
        predictions: log-probability per token of the wrong clause and of its twin; None where there is none.
        references: not read; one a prediction.

    Raises:
        UsageError: different lengths or no samples.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    rows = [(0.0, 0.0, 0.0) if p is None else (p[0] - p[1], float(p[1] > p[0]), 1.0) for p in predictions]
    return np.array(rows, dtype=np.float64)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores log_ratio and prefers_twin of each weighting, [D]; NaN where nothing is defined."""
    s = weights_DS @ stats_SK
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"log_ratio": s[:, 0] / s[:, 2], "prefers_twin": s[:, 1] / s[:, 2]}
