"""Where each simulated teacher goes wrong: error events with a shared and a private part.

An event is a chance to err on one concept of one image: to miss it or (when it is not there) to invent it, to flip its
side, to flip its status; and to refuse the whole image. For every event there is one uniform number U that all teachers
can see and one V_u of each teacher's own. Teacher u heeds U with probability sqrt(R), else V_u, independently of all
else, and errs when the number heeded lies below its rate p_u. Hence

    P(u errs) = p_u,    Cov(u, w) = R * (min(p_u, p_w) - p_u * p_w):

the phi coefficient of two teachers' errors is R times the largest that their rates allow (R itself at equal rates).
R = 0 makes them independent, R = 1 as dependent as they can be. The origin of an error is the number that was heeded.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from cxr_max.schema import FINDINGS
from cxr_max.synth.concepts import BOTH, LEFT, NONE, RIGHT, concepts, index, of_label
from cxr_max.synth.profiles import (
    PROMPTED,
    SUGGESTED,
    UNPROMPTED,
    Array,
    Profile,
    denied_offsets,
    expit,
    logit,
    made_up_offsets,
    profiles,
    refused_offset,
    seen_offsets,
    turned_offsets,
)
from cxr_max.synth.world import IMAGE_DIFFICULTY, World, normal_cdf

PRESENCE, SIDE, STATUS = range(3)
"""The error events of a concept: miss or invent, flip the side, flip the status."""


class Errors(NamedTuple):
    """What every teacher does with every concept of every image; I images, G generations, T teachers, C concepts.

    Attributes:
        refuse: [I, G, T] bool; refuse_shared: [I, T] bool.
        wrong: [I, G, T, C, 3] bool, the events before it is known whether they apply.
        shared: [I, T, C, 3] bool, the teacher heeded the shared number.
        rate: [I, T, C, 3] the probability of each event.
        invented_side: [I, G, T, C] side code an invention is given.
        slot: [I, T, C] place of the concept in the teacher's plan, 0 to 1.
        style: [I, G, T, C, 3] uniform numbers for hedging, saying the side, negating.
    """

    refuse: Array
    refuse_shared: Array
    wrong: Array
    shared: Array
    rate: Array
    invented_side: Array
    slot: Array
    style: Array


def prompted_concepts(diseases: list[tuple[str, ...]]) -> tuple[Array, Array]:
    """[I, C] whether the prompt names a concept's label, and whether it suggests the concept (a sign of one)."""
    named = np.zeros((len(diseases), len(concepts())), dtype=bool)
    suggested = np.zeros_like(named)
    for row, names in enumerate(diseases):
        for label in names:
            for i in of_label(label):
                named[row, i] = True
                suggested[row, [index()[s] for s in concepts()[i].signs]] = True
    return named, suggested | named


def draw_errors(
    world: World,
    diseases: list[tuple[str, ...]],
    people: Mapping[str, Profile] | None = None,
    *,
    seed: Sequence[int],
    correlation: float,
    step_drift: float,
    generations: int,
) -> Errors:
    """Draw all error events of the shown images of a world (or of a part of it).

    Args:
        world: the truth.
        diseases: what each shown image's prompt names.
        people: profiles in the order of `TEACHER_IDS`; default those of the package.
        seed: of this draw; one or more numbers.
        correlation: R.
        step_drift: X; log-odds of an error change by X from slot 0 to slot 1, centred on the middle.
        generations: G.
    """
    people = people or profiles()
    rng = np.random.default_rng([*seed, 11])
    study = world.image_study[world.instance]
    n, t, c = len(study), len(people), len(concepts())
    named, suggested = prompted_concepts(diseases)
    slot = plan_slots(diseases, list(people.values()), rng)
    rate = event_rates(world.present[study], (named, suggested), slot, list(people.values()), step_drift)
    common = rng.random((n, 1, c, 3))
    # Hard images lie low: their findings are missed, and on them things are made up, by several teachers at once.
    score = np.sqrt(IMAGE_DIFFICULTY) * world.difficulty[study][:, None]
    score = score + np.sqrt(1.0 - IMAGE_DIFFICULTY) * world.hardness[study]
    common[:, 0, :, PRESENCE] = normal_cdf(-score)
    shared = rng.random((n, t, c, 3)) < np.sqrt(correlation)
    own = rng.random((n, t, c, 3))
    noise = np.array([p.noise for p in people.values()])
    refuse_rate = refusal_rates(diseases, list(people.values()))
    refuse_shared = rng.random((n, t)) < np.sqrt(correlation)
    refuse_common, refuse_own = rng.random((n, 1)), rng.random((n, t))
    sides = _sides(rng, (n, 1)), _sides(rng, (n, t))
    wrong, refuse, invented, style = [], [], [], []
    for g in range(generations):
        late = np.random.default_rng([*seed, 12, g])
        fresh = late.random((n, t, c, 3)) < noise[:, None, None]
        mine = np.where(fresh, late.random((n, t, c, 3)), own)
        wrong.append(np.where(shared, common, mine) < rate)
        mine = np.where(late.random((n, t)) < noise, late.random((n, t)), refuse_own)
        refuse.append(np.where(refuse_shared, refuse_common, mine) < refuse_rate)
        invented.append(np.where(shared[..., PRESENCE], sides[0], sides[1]))
        style.append(late.random((n, t, c, 3)))
    return Errors(
        np.stack(refuse, 1), refuse_shared, np.stack(wrong, 1), shared, rate, np.stack(invented, 1), slot,
        np.stack(style, 1),
    )  # fmt: skip


def refusal_rates(diseases: list[tuple[str, ...]], people: Sequence[Profile]) -> Array:
    """[I, T] probability that a teacher refuses, given what the prompt names."""
    base = np.array([logit(p.refusal) for p in people])
    return expit(base + np.array([refused_offset(d) for d in diseases])[:, None])


def event_rates(
    present: Array, prompt: tuple[Array, Array], slot: Array, people: Sequence[Profile], step_drift: float
) -> Array:
    """[I, T, C, 3] probability of each error event, given truth, prompt and place in the plan."""
    named, suggested = prompt
    drift = step_drift * (slot - 0.5)
    sensitivity = np.array([p.sensitivity for p in people])[:, None] + seen_offsets()
    sensitivity = sensitivity + np.where(named, PROMPTED, UNPROMPTED)[:, None, :]
    invention = np.array([p.invention for p in people])[:, None] + made_up_offsets()
    invention = invention + SUGGESTED * suggested[:, None, :]
    rate = np.empty((*slot.shape, 3))
    rate[..., PRESENCE] = np.where(present[:, None, :], expit(-sensitivity + drift), expit(invention + drift))
    side, status = (
        np.array([[logit(x)] for x in (getattr(p, n) for p in people)]) for n in ("side_flip", "status_flip")
    )
    rate[..., SIDE] = expit(side + turned_offsets() + drift)
    rate[..., STATUS] = expit(status + denied_offsets() + drift)
    return rate


def _sides(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    u = rng.random((*shape, len(concepts())))
    codes = np.array([LEFT, RIGHT, BOTH, NONE], dtype=np.int8)
    out = np.zeros(u.shape, dtype=np.int8)
    for i, concept in enumerate(concepts()):
        out[..., i] = codes[np.searchsorted(np.cumsum(concept.sides)[:3], u[..., i], side="right")]
    return out


def plan_slots(diseases: list[tuple[str, ...]], people: Sequence[Profile], rng: np.random.Generator) -> Array:
    """[I, T, C] when each teacher comes to each concept, evenly spaced from 0 to 1.

    Prompted labels come first, in the teacher's order, each followed by its signs; the rest follows in a random order.
    """
    n, c = len(diseases), len(concepts())
    key = np.empty((n, len(people), c))
    shuffles = rng.random((n, len(FINDINGS)))
    for row, names in enumerate(diseases):
        for u, profile in enumerate(people):
            key[row, u] = _section_keys(ordered(names, profile.order, shuffles[row]))
    key = np.where(np.isinf(key), 100.0 + rng.random(key.shape), key)
    rank: Array = np.argsort(np.argsort(key, axis=-1), axis=-1)
    return rank / (c - 1)


@cache
def _section_keys(names: tuple[str, ...]) -> Array:
    """[C] sort keys of the concepts of these labels and of their signs; infinite for all others."""
    key = np.full(len(concepts()), np.inf)
    for place, label in enumerate(names):
        for i in of_label(label):
            key[i] = place + 0.01 * i
            for k, sign in enumerate(concepts()[i].signs):
                key[index()[sign]] = min(key[index()[sign]], place + 0.5 + 0.01 * k)
    return key


def ordered(names: tuple[str, ...], order: str, keys: Array) -> tuple[str, ...]:
    """The prompted diseases in the order in which a teacher treats them; `keys` decide a shuffle."""
    if order == "reversed":
        return names[::-1]
    if order == "alphabetical":
        return tuple(sorted(names))
    if order == "shuffled":
        return tuple(names[i] for i in np.argsort(keys[: len(names)]))
    return names


def flipped(side: Array) -> Array:
    """The opposite of left and right; other codes stay."""
    return np.where(side == LEFT, RIGHT, np.where(side == RIGHT, LEFT, side))
