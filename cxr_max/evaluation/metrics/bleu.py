"""BLEU-1 to BLEU-4 as pycocoevalcap computes them: corpus-pooled clipped counts, closest reference length.

p_k = (sum of clipped matches + 1e-15) / (sum of candidate k-grams + 1e-9); BLEU-n is the geometric mean of p_1..p_n
times exp(1 - 1/rho) when rho = (candidate words + 1e-15) / (reference words + 1e-9) is below 1. The corpus value is not
the mean of per-report values. Range [0, 1]. Source: Papineni et al. 2002; constants and ties as in pycocoevalcap.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.evaluation.ngrams import Counts, count, split
from cxr_max.evaluation.text import prepare

NAME, VERSION = "bleu", "1"
ALONE = True
TOKENS = "white space"
ORDERS = 4
TINY, SMALL = 1e-15, 1e-9


def statistics(*, predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Any:
    """Rows of [candidate words, closest reference words, k-grams of the candidate x4, clipped matches x4]."""
    hypotheses, listed = prepare(predictions, references, **options)
    samples = len(hypotheses)
    owner = np.repeat(np.arange(samples), [len(r) for r in listed])
    lengths, tables = count([*hypotheses, *(r for rs in listed for r in rs)], ORDERS)
    stats = np.zeros((samples, 2 + 2 * ORDERS))
    words = lengths[:samples]
    stats[:, 0] = words
    stats[:, 1] = _closest(words, lengths[samples:], owner)
    for k, table in enumerate(tables):
        stats[:, 2 + k] = np.maximum(words - k, 0)
        stats[:, 2 + ORDERS + k] = _clipped(table, samples, owner)
    return stats


def _closest(words: Any, reference_words: Any, owner: Any) -> Any:
    """Reference length nearest to the candidate's, ties to the shorter."""
    order = np.lexsort((reference_words, np.abs(reference_words - words[owner]), owner))
    first = np.unique(owner[order], return_index=True)[1]
    return reference_words[order][first]


def _clipped(table: Counts, samples: int, owner: Any) -> Any:
    candidate, reference = split(table, samples)
    # The most any reference of the sample has of each gram.
    keys, inverse = np.unique(owner[reference.text] * table.grams + reference.gram, return_inverse=True)
    most = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(most, inverse, reference.n)
    _, mine, theirs = np.intersect1d(candidate.text * table.grams + candidate.gram, keys, True, return_indices=True)
    matches = np.minimum(candidate.n[mine], most[theirs])
    return np.bincount(candidate.text[mine], weights=matches, minlength=samples)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """BLEU-1 to BLEU-4 of each weighting, [D]; NaN when a weighting has no samples."""
    sums = weights_DS @ stats_SK
    precisions = (sums[:, 2 + ORDERS :] + TINY) / (sums[:, 2 : 2 + ORDERS] + SMALL)
    ratio = (sums[:, 0] + TINY) / (sums[:, 1] + SMALL)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.maximum(ratio, TINY)), 1.0)
    empty = weights_DS.sum(axis=1) == 0
    scores = {}
    for n in range(1, ORDERS + 1):
        value = np.exp(np.log(precisions[:, :n]).mean(axis=1)) * brevity
        scores[f"bleu_{n}"] = np.where(empty, np.nan, value)
    return scores
