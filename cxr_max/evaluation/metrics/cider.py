"""CIDEr as pycocoevalcap computes it (the CIDEr-D form): clipped tf-idf cosine over 1- to 4-grams, times 10.

idf = log M - log max(1, df), df over the references of the samples that are scored, M their number; a Gaussian penalty
exp(-d^2 / 72) on the difference d of bigram counts. Range [0, 10]; one sample alone always scores 0. In a bootstrap the
document frequencies stay those of the whole set. Source: Vedantam et al. 2015; pycocoevalcap's conventions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_max.evaluation.ngrams import Counts, count, split
from cxr_max.evaluation.text import prepare

NAME, VERSION = "cider", "1"
TOKENS = "white space"
ORDERS, SIGMA = 4, 6.0


def statistics(*, predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Any:
    """One column: the report's CIDEr."""
    hypotheses, listed = prepare(predictions, references, **options)
    samples, n_references = len(hypotheses), np.array([len(r) for r in listed])
    owner = np.repeat(np.arange(samples), n_references)
    _, tables = count([*hypotheses, *(r for rs in listed for r in rs)], ORDERS)
    candidate_bigrams, reference_bigrams = (
        np.bincount(part.text, weights=part.n, minlength=n)
        for part, n in zip(split(tables[1], samples), (samples, len(owner)), strict=True)
    )
    penalty = np.exp(-((candidate_bigrams[owner] - reference_bigrams) ** 2) / (2 * SIGMA**2))
    similarity = sum((_similarity(t, samples, owner) for t in tables), np.zeros(len(owner))) / ORDERS * penalty
    per_sample = np.bincount(owner, weights=similarity, minlength=samples) / n_references * 10
    return per_sample[:, None]


def _similarity(table: Counts, samples: int, owner: Any) -> Any:
    """Clipped cosine of each reference with its sample's candidate, [R]."""
    candidate, reference = split(table, samples)
    # A gram counts once a sample, in however many of its references it stands.
    seen = np.sort(owner[reference.text] * table.grams + reference.gram)
    df = np.bincount(seen[np.r_[True, seen[1:] != seen[:-1]][: len(seen)]] % table.grams, minlength=table.grams)
    idf = np.log(float(samples)) - np.log(np.maximum(df, 1.0))
    weight_c, weight_r = candidate.n * idf[candidate.gram], reference.n * idf[reference.gram]
    norm_c = np.sqrt(np.bincount(candidate.text, weights=weight_c**2, minlength=samples))
    norm_r = np.sqrt(np.bincount(reference.text, weights=weight_r**2, minlength=len(owner)))
    # Each reference row looks its gram up among the candidate's, which are sorted by (text, gram).
    keys = candidate.text * table.grams + candidate.gram
    wanted = owner[reference.text] * table.grams + reference.gram
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    hit = keys[at] == wanted if len(keys) else np.zeros(len(wanted), dtype=bool)
    clipped = np.minimum(weight_c[at[hit]], weight_r[hit]) * weight_r[hit]
    dot = np.bincount(reference.text[hit], weights=clipped, minlength=len(owner)).astype(np.float64)
    norms = norm_c[owner] * norm_r
    return np.divide(dot, norms, out=dot.copy(), where=norms != 0)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Weighted mean over reports, [D]; NaN when a weighting has no samples."""
    with np.errstate(invalid="ignore"):
        return {"cider": weights_DS @ stats_SK[:, 0] / weights_DS.sum(axis=1)}
