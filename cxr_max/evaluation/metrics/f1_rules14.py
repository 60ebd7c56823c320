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
ALONE = True
BETTER = {"labels": 0}
TOP5: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


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


def averages(stats_SK: Any) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 of one set of samples in every averaging the literature uses, so that none is guessed.

    Args:
        stats_SK: as `statistics` gives them.

    Returns:
        micro; top5_micro (F1CheXbert's five); macro, over labels where defined; macro_zero (scikit-learn: undefined is
        0, all 14 labels count); weighted by support; samples_zero and samples, means over reports with undefined as 0
        and left out. F1 of `macro` and `samples` is the harmonic mean of the other two (RadFact's convention).
    """
    right, invented, missed = np.split(np.asarray(stats_SK, dtype=np.float64), 3, axis=1)
    top5 = [FINDINGS.index(n) for n in TOP5]
    each = _prf(right.sum(axis=0), invented.sum(axis=0), missed.sum(axis=0))
    single = _prf(right.sum(axis=1), invented.sum(axis=1), missed.sum(axis=1))
    support = (right + missed).sum(axis=0)
    pooled = (right[:, top5].sum(), invented[:, top5].sum(), missed[:, top5].sum())
    zero, zero_single = np.nan_to_num(each), np.nan_to_num(single)
    micro, five = (_prf(*map(np.atleast_1d, p))[:, 0] for p in ((right.sum(), invented.sum(), missed.sum()), pooled))
    rows = {
        "micro": micro,
        "top5_micro": five,
        "macro": _defined(each),
        "macro_zero": zero.mean(axis=1),
        "weighted": zero @ support / support.sum(),
        "samples_zero": zero_single.mean(axis=1),
        "samples": _defined(single),
    }
    return {name: (float(r[0]), float(r[1]), float(r[2])) for name, r in rows.items()}


def _prf(right: Any, invented: Any, missed: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [right / (right + invented), right / (right + missed), 2 * right / (2 * right + invented + missed)]
        )


def _defined(rows_3N: Any) -> Any:
    precision, recall = (row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else np.nan for row in rows_3N[:2])
    total = precision + recall
    return np.array([precision, recall, 2 * precision * recall / total if total else 0.0])
