"""ROUGE-L as pycocoevalcap computes it: F of the longest common subsequence with beta = 1.2, mean over reports.

Tokens are split on single spaces, so that a double space makes an empty token. Over several references the largest
precision and the largest recall are taken separately. Range [0, 1]. Source: Lin 2004; pycocoevalcap's conventions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.evaluation.text import prepare

NAME, VERSION = "rouge_l", "1"
ALONE = True
TOKENS = "single spaces"
BETA = 1.2


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by Hyyro's bit-parallel recurrence: one big integer a token of `a`."""
    where: dict[str, int] = {}
    for i, token in enumerate(b):
        where[token] = where.get(token, 0) | (1 << i)
    full = (1 << len(b)) - 1
    row = full
    for token in a:
        hit = row & where.get(token, 0)
        row = ((row + hit) | (row - hit)) & full
    return len(b) - row.bit_count()


def statistics(*, predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Any:
    """One column: the report's ROUGE-L."""
    hypotheses, listed = prepare(predictions, references, **options)
    return np.array(
        [[_score(h.split(" "), [r.split(" ") for r in rs])] for h, rs in zip(hypotheses, listed, strict=True)]
    )


def _score(hypothesis: list[str], references: list[list[str]]) -> float:
    common = [lcs_length(hypothesis, r) for r in references]
    precision = max(c / len(hypothesis) for c in common)
    recall = max(c / len(r) for c, r in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Weighted mean over reports, [D]; NaN when a weighting has no samples."""
    with np.errstate(invalid="ignore"):
        return {"rouge_l": weights_DS @ stats_SK[:, 0] / weights_DS.sum(axis=1)}
