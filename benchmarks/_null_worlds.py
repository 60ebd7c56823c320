"""Null worlds for calibration: states of findings along steps, no text; nothing drifts along the steps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import claims
from cxr_max.drift.stats.disagreement_trend import Claims
from cxr_max.drift.stats.step_constancy import Slots

TEACHERS, BINS, CELLS = 7, 5, 42
DENSITY = (0.2, 0.8, 0.8, 0.8, 0.3)


class World(NamedTuple):
    """One draw: slots of the step test, their shape, values of studies x teachers, the patient of each study; and of
    each slot its step and its role.
    """

    slots: Slots
    shape: tuple[int, int, int, int]
    values: NDArray[np.float64]
    patient: NDArray[np.int64]
    step: NDArray[np.int64]
    role: NDArray[np.int64]


def _agreed(rng: np.random.Generator, n: int, n_steps: int) -> NDArray[np.int64]:
    return _contents(rng, n, n_steps, (0.9, 0.9))


def _contents(
    rng: np.random.Generator, n: int, n_steps: int, shares: tuple[float, float] = (0.4, 0.8)
) -> NDArray[np.int64]:
    """studies x teachers x steps of cells: each study and each teacher prefers some cells, whatever the step.

    Below the first share a cell comes from the study, below the second from the teacher, else from anywhere.
    """
    study = rng.integers(0, CELLS, (n, 1, 3))
    teacher = rng.integers(0, CELLS, (1, TEACHERS, 6))
    pick = rng.random((n, TEACHERS, n_steps))
    from_study = np.take_along_axis(
        np.broadcast_to(study, (n, TEACHERS, 3)), rng.integers(0, 3, (n, TEACHERS, n_steps)), axis=2
    )
    from_teacher = np.take_along_axis(
        np.broadcast_to(teacher, (n, TEACHERS, 6)), rng.integers(0, 6, (n, TEACHERS, n_steps)), axis=2
    )
    anything = rng.integers(0, CELLS, (n, TEACHERS, n_steps))
    return np.where(pick < shares[0], from_study, np.where(pick < shares[1], from_teacher, anything))


def draw(kind: str, n: int, seed: tuple[int, ...]) -> World:
    """One world of n studies (two per patient).

    Args:
        kind: stationary, density (assertion density .2/.8/.8/.8/.3), lengths (teachers of unequal length), sections
            (two sections per study, each with findings of its own, in another order for each teacher), ordered (two
            kinds of statements in one order in all texts, the first agreed upon, the second not; known as roles),
            unnamed (the same, but that there are kinds is not known).
        n: studies.
        seed: of the world.
    """
    rng = np.random.default_rng(seed)
    n_steps = 10
    cells = _contents(rng, n, n_steps)
    asserted = np.ones(cells.shape, dtype=bool)
    time = np.broadcast_to(np.arange(n_steps) * BINS // n_steps, cells.shape)
    topic = np.zeros(cells.shape, dtype=np.int64)
    if kind == "density":
        asserted = rng.random(cells.shape) < np.array(DENSITY)[time]
    elif kind == "lengths":
        length = np.array([4, 5, 6, 7, 8, 9, 10])
        step = np.arange(n_steps)
        asserted = np.broadcast_to(step < length[:, None], cells.shape)
        time = np.broadcast_to(np.minimum(step * BINS // length[:, None], BINS - 1), cells.shape)
    elif kind == "sections":
        first = rng.random(TEACHERS) < 0.5
        half = np.arange(n_steps) >= n_steps // 2
        topic = np.broadcast_to((half[None] ^ first[:, None]).astype(np.int64), cells.shape)
        # A section has cells of its own, so that its place in the essay changes what is said there.
        cells = cells // 2 * 2 + topic
        time = np.broadcast_to(np.arange(n_steps) % (n_steps // 2), cells.shape)
    role = np.zeros(cells.shape, dtype=np.int64)
    if kind in ("ordered", "unnamed"):
        late = np.broadcast_to(np.arange(n_steps) >= n_steps // 2, cells.shape)
        cells = np.where(late, CELLS // 2 + _contents(rng, n, n_steps, (0.1, 0.5)) // 2, _agreed(rng, n, n_steps) // 2)
        role = late.astype(np.int64) if kind == "ordered" else role
    row = np.arange(n * TEACHERS).reshape(n, TEACHERS, 1)
    group = np.broadcast_to(row, cells.shape) * 2 + topic
    order = np.argsort(group[asserted], kind="stable")
    teacher = np.broadcast_to(np.arange(TEACHERS)[None, :, None], cells.shape)
    size = int(asserted.sum())
    slots = Slots(
        *(np.ascontiguousarray(a[asserted][order]) for a in (group, teacher, topic, time)), np.ones(size),
        np.arange(size), cells[asserted][order], np.ones(size),
    )  # fmt: skip
    patient = np.arange(n) // 2
    shared = rng.normal(size=(n // 2 + 1, 1))[patient]
    values = shared + rng.normal(size=(n, TEACHERS))
    step = np.broadcast_to(np.arange(n_steps), cells.shape)
    shape = (2 if kind == "sections" else 1, BINS, TEACHERS, CELLS)
    return World(slots, shape, values, patient, step[asserted][order], role[asserted][order])


def claims_of(world: World) -> Claims:
    """The statements of a world, each an affirmation of its cell; one prompt for all."""
    n = len(world.patient)
    text = world.slots.group // 2
    said = claims.Statements(
        text, world.step, world.slots.cell, np.zeros(len(text), dtype=bool), world.role, np.ones(len(text), dtype=bool)
    )
    studies = np.arange(n)
    instance, teacher = np.repeat(studies, TEACHERS), np.tile(np.arange(TEACHERS), n)
    return claims.build(said, claims.Texts(instance, teacher, world.patient, studies, np.zeros(n, dtype=np.int64)))
