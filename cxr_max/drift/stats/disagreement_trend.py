"""Are later statements more disputed than statements of the same kind made earlier? The test by reversal.

    slope = sum_a w_a c_a X_a / sum_a w_a c_a c'_a

over the statements a of all texts. A statement lies in a block, the statements of one text with the same role in the
prompt and the same polarity, and c_a is its place among them: (rank - mean rank) / size, so c sums to zero in each
block. X_a is how many of the other teachers disagree with it, less the mean of its kind: all statements of that teacher
on that concept with that polarity under the same prompted diagnoses; c'_a is c_a less the mean of its kind.

Null: within each block the order says nothing about who disagrees, so that telling all blocks of a patient backwards
is as probable as telling them forwards. Reversal turns c into -c, leaves X and the kinds as they are, and so turns the
patient's score S = sum w c X into -S: given |S| both signs are equally probable, and the test by random signs of whole
patients is exact, however the teachers' texts on one image depend on each other and however blocks are mixed over the
text. It does not need kinds of statements to be interchangeable: roles and polarities are never compared with each
other. Where texts share an order of concepts inside a block (the heart before the bones, say), reversal is no symmetry;
then the mean of each kind, which is taken out of X, keeps the expectation of the sum of S at zero as long as the place
adds nothing given the kind, and the test is conservative, since what the order of kinds explains of S sums to zero over
all patients but enters the spread of the signs. A mean that rises and returns within a block is no trend and is not
looked for. "The place adds nothing given the kind" is all that is tested: what a teacher finds worth saying first on
this image is not part of the kind, and a trend may come of it as well as of errors that build up.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import permute, resample
from cxr_max.drift.stats._common import Floats, divide

Ints = NDArray[np.int64]


class Claims(NamedTuple):
    """Statements of findings, A of them.

    Attributes:
        patient: code.
        block: statements that are compared: one text, one role in the prompt, one polarity.
        kind: statements whose mean disagreement is taken out: one teacher, prompt, concept and polarity.
        place: of the statement in its text, rising; equal places share a rank.
        disagreement: share of the other teachers who disagree, in [0, 1].
        weight: > 0.
    """

    patient: Ints
    block: Ints
    kind: Ints
    place: Ints
    disagreement: Floats
    weight: Floats


class Trend(NamedTuple):
    """Result of the test.

    Attributes:
        slope: rise of the disagreement from the first to the last place of a block; NaN when no block has two places.
        low: lower end of its 95 % interval over patients.
        high: upper end.
        p: two-sided, by reversal.
        effect: mean score of a patient over its standard deviation.
        detectable: smallest slope that would be found with power .8.
        n: statements in blocks of two or more.
        n_patients: patients whose score is not zero.
    """

    slope: float
    low: float
    high: float
    p: float
    effect: float
    detectable: float
    n: int
    n_patients: int


class Terms(NamedTuple):
    """Per statement: `centre` c, `residual` c', and `excess` X, whose weighted mean is taken out of blocks as well."""

    centre: Floats
    residual: Floats
    excess: Floats
    size: Ints


def centred_ranks(block: Ints, place: Ints) -> tuple[Floats, Ints]:
    """(mid-rank - mean rank) / size of each element in its block, in (-1/2, 1/2), and the size of the block."""
    order = np.lexsort((place, block))
    b, p = block[order], place[order]
    n = len(b)
    if not n:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[True], b[1:] != b[:-1]])
    ties = np.cumsum(np.concatenate([[True], (b[1:] != b[:-1]) | (p[1:] != p[:-1])])) - 1
    number = np.cumsum(starts) - 1
    size = np.bincount(number)
    rank = np.arange(n) - np.flatnonzero(starts)[number] + 0.5
    middle = (np.bincount(ties, weights=rank) / np.bincount(ties))[ties]
    centre, sizes = np.empty(n), np.empty(n, dtype=np.int64)
    centre[order], sizes[order] = middle / size[number] - 0.5, size[number]
    return centre, sizes


def _less_mean(values: Floats, group: Ints, weight: Floats) -> Floats:
    _, code = np.unique(group, return_inverse=True)
    mean = np.bincount(code, weights=values * weight) / np.bincount(code, weights=weight)
    less: Floats = values - mean[code]
    return less


def terms(claims: Claims) -> Terms:
    """Places in the blocks and disagreement in excess of the kind; see the module."""
    centre, size = centred_ranks(claims.block, claims.place)
    if not len(size):
        return Terms(centre, centre, centre, size)
    excess = _less_mean(claims.disagreement, claims.kind, claims.weight)
    excess = _less_mean(excess, claims.block, claims.weight)
    return Terms(centre, _less_mean(centre, claims.kind, claims.weight), excess, size)


def patient_scores(claims: Claims, found: Terms) -> Floats:
    """Patients x (sum of w c X, sum of w c c'); the weight is constant in a block."""
    n = int(claims.patient.max(initial=-1)) + 1
    each = np.column_stack([found.centre * found.excess, found.centre * found.residual]) * claims.weight[:, None]
    return resample.patient_sums(each, claims.patient, n)


def _ratio(sums: Floats) -> Floats:
    return divide(sums[..., 0], sums[..., 1])[..., None]


def compute(claims: Claims, *, permutations: int = 199, draws: int = 2000, seed: int = 0) -> Trend:
    """Slope, interval over patients and the test by reversal.

    Args:
        claims: statements.
        permutations: random patterns of signs; all of them when there are fewer.
        draws: bootstrap draws of the interval.
        seed: of both.
    """
    found = terms(claims)
    scores = patient_scores(claims, found)
    scores = scores[(scores != 0).any(axis=1)]
    moving = np.flatnonzero(np.abs(scores[:, 0]) > 0)
    n = int((found.size > 1).sum())
    total = scores.sum(axis=0)
    if not len(moving) or not total[1] > 0:
        nothing = float("nan")
        return Trend(nothing, nothing, nothing, nothing, nothing, nothing, n, len(moving))
    slope = float(total[0] / total[1])
    interval = resample.bootstrap(scores, _ratio, draws=draws, seed=seed)
    test = permute.paired_mean(scores[moving, 0], np.arange(len(moving)), draws=permutations, seed=seed)
    error = float(np.sqrt(((scores[:, 0] - slope * scores[:, 1]) ** 2).sum()) / total[1])
    return Trend(
        slope, float(interval.low[0]), float(interval.high[0]), test.p, test.effect,
        float(resample.smallest_detectable(error)), n, len(moving),
    )  # fmt: skip
