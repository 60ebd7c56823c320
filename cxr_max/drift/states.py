"""States along the reasoning: what a trajectory has asserted up to a step, and what it newly asserts at it.

The paper's state at step j is (t_<j, z_j), prefix and predictive distribution; API teachers show neither tokens nor
z_j, so sentence steps and the findings they assert stand for both: the accumulated state F in {?, -, +-, +}^14 for the
history, the newly asserted findings for the instantaneous part (Eq. 4 of version A, Eq. 3 of version B).
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift.encoded import OTHER_TOPIC, SUMMARY_TOPIC, Encoded, precedence
from cxr_max.drift.stats._common import Floats, divide
from cxr_max.schema import FINDINGS

Ints = NDArray[np.int64]
N_CELLS = len(FINDINGS) * 3
"""(label, status) cells of a step's content."""
ALIGNED_BINS = 3
"""Beginning, middle and end of a topic; topics are too short for more."""
SIGN, REST = 2 * len(FINDINGS), 2 * len(FINDINGS) + 1
N_TOPICS = REST + 1


class Bearing(NamedTuple):
    """Steps that assert a finding with a label, B of them, and what they assert.

    Every such step has the same mass inside its trajectory and every study the same mass for a teacher, so moving
    contents between them leaves the mass of every bin as it is, and long trajectories do not dominate.

    Attributes:
        row: trajectory of each step, ascending.
        topic: what the step is about, see `topics`.
        time: (j + 1/2) / J among all steps of the trajectory.
        position: the same inside the topic.
        weight: mass of the step.
        owner: step of each content item.
        cell: (label, status, side) cell of each content item; divided by 3 it is the (label, status) cell.
        share: share of the step's mass of each content item.
        lost: findings without a known step.
    """

    row: Ints
    topic: Ints
    time: Floats
    position: Floats
    weight: Floats
    owner: Ints
    cell: Ints
    share: Floats
    lost: int


def width_of(encoded: Encoded) -> int:
    """More than any step's number, so that row * width + step tells steps apart."""
    return int(max(encoded.findings.step.max(initial=0), encoded.steps.step.max(initial=0))) + 1


def bearing(encoded: Encoded, *, generation: int = 0) -> Bearing:
    """Finding-bearing steps of one generation; generic steps stay out and keep their places."""
    found = encoded.findings
    label = np.asarray(encoded.vocabulary.label_K, dtype=np.int64)[found.concept]
    wanted = (label >= 0) & (encoded.generation_T[found.row] == generation) & ~encoded.refusal_T[found.row]
    known = wanted & (found.step >= 0)
    width = width_of(encoded)
    key = found.row[known] * width + found.step[known]
    cell = (label[known] * 3 + found.status[known]) * 3 + found.side[known]
    items = np.unique(np.stack([key, cell], axis=1), axis=0) if len(key) else np.zeros((0, 2), dtype=np.int64)
    steps, owner, size = np.unique(items[:, 0], return_inverse=True, return_counts=True)
    row = steps // width
    time, section = places(encoded, steps, width)
    first = np.searchsorted(key, steps, sorter=np.argsort(key, kind="stable"))
    head = found.concept[known][np.argsort(key, kind="stable")][first].astype(np.int64) if len(steps) else steps
    topic = topics(encoded, row, section, head)
    position = _positions(row * N_TOPICS + topic)
    per_row = np.bincount(row, minlength=encoded.n_trajectories)
    study = np.unique(encoded.study_I, return_inverse=True)[1][encoded.instance_T]
    group = study * len(encoded.vocabulary.teachers) + encoded.teacher_T
    speaks = per_row > 0
    siblings = np.bincount(group[speaks], minlength=int(group.max(initial=-1)) + 1)
    typical = float(per_row[speaks].mean()) if speaks.any() else 0.0
    weight = typical / (per_row[row] * siblings[group[row]]) if len(row) else np.zeros(0)
    return Bearing(
        row, topic, time, position, weight, owner, items[:, 1], 1.0 / size[owner], int(wanted.sum() - known.sum())
    )


def topics(encoded: Encoded, row: Ints, section: Ints, concept: Ints) -> Ints:
    """What each finding-bearing step is about.

    Under a heading that names a prompted diagnosis: that label (0..13). Elsewhere by its first finding: 14 + its label
    when the prompt names that, SIGN when it supports a prompted diagnosis, else REST. Contents that move inside one
    topic of one trajectory keep the topic, so a permutation leaves topics and positions as they are. Under a summary:
    -1.
    """
    instance = encoded.instance_T[row]
    label = np.asarray(encoded.vocabulary.label_K, dtype=np.int64)[concept]
    supported = (encoded.prompted_IL.astype(np.float32) @ sign_table(encoded.vocabulary.concepts)) > 0
    by_finding = np.where(
        encoded.prompted_IL[instance, label], OTHER_TOPIC + label, np.where(supported[instance, concept], SIGN, REST)
    )
    return np.where(section == SUMMARY_TOPIC, -1, np.where(section < OTHER_TOPIC, section, by_finding))


@cache
def _signs() -> dict[str, list[str]]:
    return tomllib.loads(files("cxr_max.drift").joinpath("signs.toml").read_text(encoding="utf-8"))


def sign_table(concepts: tuple[str, ...]) -> NDArray[np.float32]:
    """14 labels x concepts: 1 where the concept is a sign that supports the label (`signs.toml`)."""
    table = np.zeros((len(FINDINGS), len(concepts)), dtype=np.float32)
    place = {c: k for k, c in enumerate(concepts)}
    for label, signs in _signs().items():
        table[FINDINGS.index(label), [place[s] for s in signs if s in place]] = 1
    return table


def places(encoded: Encoded, wanted: Ints, width: int) -> tuple[Floats, Ints]:
    """Relative time and section of the wanted steps (row * width + step); the middle where a step is not listed."""
    steps = encoded.steps
    key = steps.row * width + steps.step
    order = np.argsort(key, kind="stable")
    key, topic = key[order], steps.topic[order].astype(np.int64)
    if not len(key):
        return np.full(len(wanted), 0.5), np.full(len(wanted), OTHER_TOPIC, dtype=np.int64)
    row = key // width
    total = np.bincount(row, minlength=encoded.n_trajectories)
    first = np.concatenate([[0], np.cumsum(total)[:-1]])
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    hit = key[place] == wanted
    rank = place - first[row[place]]
    return np.where(hit, divide(rank + 0.5, total[row[place]]), 0.5), np.where(hit, topic[place], OTHER_TOPIC)


def _positions(group: Ints) -> Floats:
    """(rank + 1/2) / size of each element inside its group, in order of appearance."""
    _, inverse, size = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)[:-1]]) if len(size) else size
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, size)
    return divide(rank + 0.5, size[inverse])


class History(NamedTuple):
    """Per trajectory, label and bin: `accumulated` state up to and with the bin, and what is `new` in it; -1 =
    nothing.
    """

    accumulated: NDArray[np.int16]
    new: NDArray[np.int16]


def history(encoded: Encoded, n_bins: int) -> History:
    """T x 14 x bins states; a finding without a known step counts from the last bin."""
    found = encoded.findings
    label = np.asarray(encoded.vocabulary.label_K, dtype=np.int64)[found.concept]
    has = label >= 0
    length = np.maximum(encoded.steps_T[found.row], found.step + 1)
    time = np.where(found.step >= 0, divide(found.step + 0.5, length), 1.0)
    bins = np.minimum((time * n_bins).astype(np.int64), n_bins - 1)
    first = np.full((encoded.n_trajectories, len(FINDINGS), 3), n_bins, dtype=np.int16)
    np.minimum.at(first, (found.row[has], label[has], found.status[has]), bins[has].astype(np.int16))
    accumulated = np.stack([precedence(first <= k) for k in range(n_bins)], axis=-1)
    new = np.stack([precedence(first == k) for k in range(n_bins)], axis=-1)
    return History(accumulated, new)
