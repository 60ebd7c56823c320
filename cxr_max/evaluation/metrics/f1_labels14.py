"""F1 over the 14 CheXpert labels as any labeler gave them: micro, and macro over the labels that a reference has.

A sample's labels are the names it has (positive or uncertain, the convention of F1CheXbert), joined by `|`; none = "".
Range [0, 1]. Which labeler gave them is not known here and belongs beside the number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation.metrics.f1_rules14 import aggregate as of_counts
from cxr_max.schema import FINDINGS

NAME, VERSION = "f1_labels14", "1"
ALONE = True
BETTER = {"labels": 0}


def statistics(*, predictions: Sequence[str], references: Sequence[str]) -> Any:
    """Rows of [true positives x14, false positives x14, false negatives x14].

    Raises:
        UsageError: different lengths or no samples.
        UnknownNameError: a name that is none of the 14.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    said, true = _vectors(predictions), _vectors(references)
    return np.concatenate([said & true, said & ~true, ~said & true], axis=1).astype(np.float64)


def _vectors(rows: Sequence[str]) -> Any:
    named = [{part for part in row.split("|") if part} for row in rows]
    for strange in sorted({n for names in named for n in names} - set(FINDINGS)):
        raise UnknownNameError.of("label", strange, FINDINGS)
    return np.array([[name in names for name in FINDINGS] for names in named], dtype=bool)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores f1_micro, f1_macro and labels (with a reference) of each weighting, [D]; NaN where undefined."""
    return of_counts(stats_SK, weights_DS)
