"""Claims of a rationale against the truth: precision, recall, and how often a stated side is the right one.

A claim (label, side) holds when the label is there and, if it names a side, on that side. Side accuracy looks only at
claims with a side about a label that is there on one side alone: chance is .5, and naming both sides is half right.
Uncertain counts as present. Each is pooled over samples (micro); undefined = NaN. Range [0, 1]; `claims` is their mean
number a sample.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from cxr_max.errors import UsageError

NAME, VERSION = "claims", "1"
BETTER = {"claims": 0}
RATES = ("precision", "recall", "side_accuracy")
TYPES = ("strings", "strings")
Claim = tuple[str, str | None]
"""A label of the 14 and left, right or None."""


def statistics(*, predictions: Sequence[Collection[Claim | str]], references: Sequence[Collection[Claim | str]]) -> Any:
    """Rows of [claims, right ones, true findings, found ones, sided claims on one-sided findings, right ones, 1].

    Args:
        predictions: claims of each sample, as pairs or as text: `Edema`, `Pneumothorax/left`.
        references: the same of the truth.

    Raises:
        UsageError: different lengths or no samples.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    pairs = zip(predictions, references, strict=True)
    return np.array([_row(set(map(_claim, p)), set(map(_claim, r))) for p, r in pairs], dtype=np.float64)


def _claim(claim: Claim | str) -> Claim:
    if not isinstance(claim, str):
        return claim
    label, _, side = claim.partition("/")
    return label, side or None


def _row(said: set[Claim], true: set[Claim]) -> tuple[int, ...]:
    labels = {label for label, _ in true}
    sides = {label: {s for name, s in true if name == label} for label in labels}
    right = [c for c in said if c[0] in labels and (c[1] is None or c in true)]
    found = [t for t in true if t in said or (t[1] is None and any(label == t[0] for label, _ in said))]
    sided = [(label, s) for label, s in said if s and len(sides.get(label, ())) == 1 and None not in sides[label]]
    return len(said), len(right), len(true), len(found), len(sided), sum(c in true for c in sided), 1


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores precision, recall, side_accuracy, claims of each weighting, [D]; NaN where undefined."""
    s = weights_DS @ stats_SK
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": s[:, 1] / s[:, 0],
            "recall": s[:, 3] / s[:, 2],
            "side_accuracy": s[:, 5] / s[:, 4],
            "claims": s[:, 0] / s[:, 6],
        }
