"""Macro-accuracy: the mean of the per-class recalls (balanced accuracy), with plain accuracy and abstention beside it.

An abstention (None) is wrong. Classes without a reference are left out of the mean; where only one class has any, a
constant answer would be perfect, so macro-accuracy is undefined (NaN). Range [0, 1].
Source: the MS-CXR-T protocol of BioViL-T; scikit-learn's balanced_accuracy_score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.errors import UsageError

NAME, VERSION = "macro_accuracy", "2"
BETTER = {"abstention": -1}
RATES = ("macro_accuracy", "accuracy", "abstention")


def statistics(
    *, predictions: Sequence[str | None], references: Sequence[str], labels: Sequence[str] | None = None
) -> Any:
    """Rows of [is of class c] x C, [is of class c and right] x C, [abstained].

    Args:
        predictions: answers; None = abstained.
        references: the true class of each sample.
        labels: the classes in order; those of the references, sorted, when None.

    Raises:
        UsageError: different lengths, no samples, or a reference that is no class.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    classes = list(labels) if labels is not None else sorted(set(references))
    strange = sorted({str(r) for r in references if r not in classes})
    if strange:
        raise UsageError(f"references outside the classes {classes}: {strange[:5]}")
    stats = np.zeros((len(references), 2 * len(classes) + 1))
    for i, (answer, truth) in enumerate(zip(predictions, references, strict=True)):
        at = classes.index(truth)
        stats[i, at] = 1
        stats[i, len(classes) + at] = answer == truth
        stats[i, -1] = answer is None
    return stats


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores macro_accuracy, accuracy, abstention of each weighting, [D]; NaN when it has no samples,
    macro_accuracy also when it has one class alone."""
    sums = weights_DS @ stats_SK
    classes = (stats_SK.shape[1] - 1) // 2
    n, right = sums[:, :classes], sums[:, classes : 2 * classes]
    total, there = n.sum(axis=1), (n > 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(n > 0, right / n, 0.0)
        return {
            "macro_accuracy": np.where(there > 1, recall.sum(axis=1) / there, np.nan),
            "accuracy": right.sum(axis=1) / total,
            "abstention": sums[:, -1] / total,
        }
