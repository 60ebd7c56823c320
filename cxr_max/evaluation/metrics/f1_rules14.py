"""F1 over the 14 CheXpert labels as our rule extractor reads them from both texts; micro, and macro over labels.

Positive and uncertain count as mentioned (the convention of F1CheXbert), negated and absent do not. A label that no
reference has is left out of the macro mean, whose number of labels is reported. The extractor is in the name: these are
not CheXbert's labels. Range [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max import findings
from cxr_max.errors import UsageError
from cxr_max.schema import FINDINGS

NAME, VERSION = "f1_rules14", "1"


def statistics(*, predictions: Sequence[str], references: Sequence[str]) -> Any:
    """Rows of [true positives x14, false positives x14, false negatives x14].

    Raises:
        UsageError: different lengths or no samples.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    said, true = _vectors(predictions), _vectors(references)
    return np.concatenate([said & true, said & ~true, ~said & true], axis=1).astype(np.float64)


def _vectors(texts: Sequence[str]) -> Any:
    rows = (findings.label(text) for text in texts)
    return np.array([[row[name] in (1, -1) for name in FINDINGS] for row in rows], dtype=bool)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores f1_micro, f1_macro and labels (with a reference) of each weighting, [D]; NaN where undefined."""
    right, invented, missed = np.split(weights_DS @ stats_SK, 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = 2 * right / (2 * right + invented + missed)
        supported = right + missed > 0
        n = supported.sum(axis=1)
        micro = 2 * right.sum(axis=1) / (2 * right + invented + missed).sum(axis=1)
        macro = np.where(supported, each, 0.0).sum(axis=1) / n
    return {"f1_micro": micro, "f1_macro": macro, "labels": n.astype(np.float64)}
