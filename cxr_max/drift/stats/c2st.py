"""Classifier two-sample test: out-of-fold AUC of a classifier that tells two paired samples apart.

The classifier is a ridge-regularised linear discriminant: its coefficients are linear in the labels, so the
permutations share one factorisation per fold. Folds keep a patient together. The N(1/2, 1/(4n)) null of D. Lopez-Paz,
M. Oquab (ICLR 2017, arXiv 1610.06545) needs one independent hold-out, so the null here is the swap of labels within
studies.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cxr_max.drift.stats._common import Floats, matrix
from cxr_max.optional import require


class Separation(NamedTuple):
    """`auc` in [0, 1], .5 = not told apart; `swapped`: one AUC per column of signs; `n` pairs; `reason` if NaN."""

    auc: float
    swapped: Floats
    n: int
    reason: str = ""


def folds_of(groups_N: ArrayLike, n_folds: int, seed: int) -> np.ndarray:
    """Fold number of each row; rows of one group share it."""
    _, codes = np.unique(np.asarray(groups_N), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(int(codes.max(initial=-1)) + 1)
    result: np.ndarray = shuffled[codes] % n_folds
    return result


def auc(scores_NB: ArrayLike, positive_NB: ArrayLike) -> Floats:
    """Area under the ROC curve per column, ties at mid-rank; NaN where a column holds one class only."""
    scores, positive = matrix(scores_NB, "scores"), np.asarray(positive_NB, dtype=bool)
    positive = positive[:, None] if positive.ndim == 1 else positive
    ranks = require("scipy.stats", extra="drift").rankdata(scores, axis=0)
    n_pos = positive.sum(axis=0).astype(float)
    n_neg = len(positive) - n_pos
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = ((ranks * positive).sum(axis=0) - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)
    return result


def compute(
    x_NF: ArrayLike,
    y_NF: ArrayLike,
    groups_N: ArrayLike,
    *,
    signs_NB: ArrayLike | None = None,
    n_folds: int = 5,
    ridge: float = 0.01,
    seed: int = 0,
) -> Separation:
    """Out-of-fold AUC of x (positive) against y; row i of both comes from one study.

    Args:
        x_NF: features of the first sample.
        y_NF: features of the second sample.
        groups_N: patient of each row.
        signs_NB: columns of +1/-1; -1 exchanges the labels of row i.
        n_folds: folds over patients; fewer when there are fewer patients.
        ridge: penalty as a share of the mean diagonal of the Gram matrix.
        seed: of the assignment to folds.
    """
    x, y = matrix(x_NF, "x"), matrix(y_NF, "y")
    n = len(x)
    signs = np.ones((n, 1)) if signs_NB is None else np.column_stack([np.ones(n), matrix(signs_NB, "signs")])
    n_folds = min(n_folds, len(np.unique(np.asarray(groups_N))))
    if n_folds < 2:
        return Separation(float("nan"), np.full(signs.shape[1] - 1, np.nan), n, "fewer than two patients")
    rows = np.concatenate([x, y])
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    labels = np.concatenate([signs, -signs])
    fold = np.tile(folds_of(groups_N, n_folds, seed), 2)
    scores = np.zeros_like(labels)
    for f in range(n_folds):
        train, test = fold != f, fold == f
        gram = rows[train].T @ rows[train]
        gram[np.diag_indices_from(gram)] += ridge * max(float(np.mean(np.diag(gram))), 1e-12)
        scores[test] = rows[test] @ np.linalg.solve(gram, rows[train].T @ labels[train])
    # Rounding must not order scores that are equal.
    values = auc(np.round(scores, 9), labels > 0)
    return Separation(float(values[0]), values[1:], n)
