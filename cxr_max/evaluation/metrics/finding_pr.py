"""Precision and recall of findings against the reference report, at the level of side, by entailment both ways.

Macro is the mean over reports where defined (RadFact's convention), micro pools the counts; F1 is the harmonic mean of
the two macro values. Uncertain counts as present. An empty answer has no precision and recall 0. Range [0, 1].
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cxr_max import findings
from cxr_max.errors import UsageError
from cxr_max.findings.model import Extraction

NAME, VERSION = "finding_pr", "1"
ALONE = True
Level = Literal["concept", "side", "zone"]


def statistics(
    *, predictions: Sequence[str | Extraction], references: Sequence[str | Extraction], level: Level = "side"
) -> Any:
    """Rows of [precision or 0, is defined, recall or 0, is defined, entailed, stated, found, in reference].

    Args:
        predictions: texts, read by our rules; or what another extractor made of them.
        references: the same.
        level: how exactly a finding must be located.

    Raises:
        UsageError: different lengths or no samples.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    rows = []
    for candidate, reference in zip(predictions, references, strict=True):
        truth = findings.extract(reference, role="reference") if isinstance(reference, str) else reference
        said = findings.extract(candidate) if isinstance(candidate, str) else candidate
        a = findings.alignment(said, truth, level=level)
        macro = (_or_0(a.precision), a.n_c > 0, _or_0(a.recall), a.n_r > 0)
        rows.append((*macro, a.entailed_c, a.n_c, a.entailed_r, a.n_r))
    return np.array(rows, dtype=np.float64)


def _or_0(value: float) -> float:
    return 0.0 if np.isnan(value) else value


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores precision, recall, f1, precision_micro, recall_micro of each weighting, [D]; NaN where undefined."""
    s = weights_DS @ stats_SK
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = s[:, 0] / s[:, 1], s[:, 2] / s[:, 3]
        harmonic = 2 * precision * recall / (precision + recall)
        return {
            "precision": precision,
            "recall": recall,
            "f1": np.where((precision == 0) & (recall == 0), 0.0, harmonic),
            "precision_micro": s[:, 4] / s[:, 5],
            "recall_micro": s[:, 6] / s[:, 7],
        }
