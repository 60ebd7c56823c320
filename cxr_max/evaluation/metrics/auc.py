"""Area under the ROC curve, by ranks: the share of (positive, negative) pairs in order, ties counting one half.

NaN when one class is absent. Range [0, 1]. Source: Mann and Whitney 1947; equals scikit-learn's roc_auc_score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.errors import UsageError

NAME, VERSION = "auc", "1"
TYPES = ("float64", "int32")


def statistics(*, predictions: Sequence[float], references: Sequence[int]) -> Any:
    """Rows of [score, label].

    Args:
        predictions: scores, larger for positive; any monotone scale.
        references: 1 positive, 0 negative.

    Raises:
        UsageError: different lengths, no samples, a score that is NaN, a label other than 0 and 1.
    """
    scores, labels = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if scores.shape != labels.shape or scores.ndim != 1 or not len(scores):
        raise UsageError(f"{len(scores)} scores for {len(labels)} labels; one each, at least one")
    if np.isnan(scores).any():
        raise UsageError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise UsageError("labels are 0 and 1")
    return np.stack([scores, labels], axis=1)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """AUC of each weighting, [D]."""
    order = np.argsort(stats_SK[:, 0], kind="stable")
    scores, labels = stats_SK[order].T
    begins = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    values = []
    for weights in weights_DS[:, order]:
        positive = np.add.reduceat(weights * labels, begins)
        negative = np.add.reduceat(weights * (1 - labels), begins)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        values.append((positive * (below + negative / 2)).sum() / pairs if pairs else np.nan)
    return {"auc": np.array(values)}


def exchangeable(stats_SK: Any) -> Any:
    """Scores as mid-ranks within the model in (0, 1): the AUC is the same, and two models share a scale."""
    _, at, counts = np.unique(stats_SK[:, 0], return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.stack([ranks[at] / (len(stats_SK) + 1), stats_SK[:, 1]], axis=1)
