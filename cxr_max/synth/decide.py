"""From error events to what each teacher claims, and precision and recall of the claims, without any text."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cxr_max.synth.concepts import BOTH, LEFT, NONE, RIGHT, concepts, index
from cxr_max.synth.profiles import Array, Profile, profiles
from cxr_max.synth.teachers import PRESENCE, SIDE, STATUS, Errors, flipped
from cxr_max.synth.world import World

NOTHING, RIGHT_CLAIM, MISSED, FLIPPED_SIDE, FLIPPED_STATUS, INVENTED, NEGATED = range(7)
"""What a teacher does with a concept: silent and right, named, missed, on the wrong side, negated though it is there,
made up, rightly negated."""


class Decisions(NamedTuple):
    """[I, G, T, C] what is claimed: kind, side code as said, hedged, and whether an error came from the shared part."""

    kind: Array
    side: Array
    hedged: Array
    shared: Array


def decide(world: World, errors: Errors, people: Mapping[str, Profile] | None = None) -> Decisions:
    """Apply the error events to the truth.

    Order: a refusal misses everything; else a finding that is there may be missed, else negated, else put on the other
    side; one that is not there may be invented, else it may be rightly negated.
    """
    study = world.image_study[world.instance]
    present = world.present[study][:, None, None, :]
    side = np.broadcast_to(world.side[study][:, None, None, :], errors.wrong.shape[:-1])
    sided = (side == LEFT) | (side == RIGHT)
    who = list((people or profiles()).values())
    hedge, say, negate = (np.array([getattr(p, n) for p in who]) for n in ("hedging", "side_stated", "negatives"))
    wrong = errors.wrong
    kind = np.where(present, RIGHT_CLAIM, NOTHING)
    negated = ~present & (errors.style[..., 2] < negate[:, None] * _negation_weights())
    kind = np.where(negated, NEGATED, kind)
    kind = np.where(present & sided & wrong[..., SIDE], FLIPPED_SIDE, kind)
    kind = np.where(present & wrong[..., STATUS], FLIPPED_STATUS, kind)
    kind = np.where(wrong[..., PRESENCE], np.where(present, MISSED, INVENTED), kind)
    refuse = errors.refuse[..., None]
    kind = np.where(refuse, np.where(present, MISSED, NOTHING), kind)
    event = np.select([kind == FLIPPED_SIDE, kind == FLIPPED_STATUS], [SIDE, STATUS], PRESENCE)
    shared = np.take_along_axis(errors.shared[:, None], event[..., None], -1)[..., 0]
    shared = np.where(refuse, errors.refuse_shared[:, None, :, None], shared)
    said = np.where(kind == INVENTED, errors.invented_side, np.where(kind == FLIPPED_SIDE, flipped(side), side))
    silent = (kind != FLIPPED_SIDE) & (errors.style[..., 1] >= say[:, None])
    said = np.where(silent | (kind == FLIPPED_STATUS) | (kind == NEGATED), NONE, said)
    claimed = np.isin(kind, [RIGHT_CLAIM, FLIPPED_SIDE, INVENTED])
    hedged = claimed & (errors.style[..., 0] < hedge[:, None])
    hedged[..., index()["no_finding"]] = False
    return Decisions(kind.astype(np.int8), said.astype(np.int8), hedged, shared)


def _negation_weights() -> Array:
    weight = {"Support Devices": 0.1, "No Finding": 0.0, None: 0.3}
    return np.array([weight.get(c.label, 1.0) for c in concepts()])


def stated(decisions: Decisions) -> Array:
    """[I, G, T, C] side code of each positive or hedged claim, -1 where there is none; "no finding" is left out."""
    out = np.where(np.isin(decisions.kind, [RIGHT_CLAIM, FLIPPED_SIDE, INVENTED]), decisions.side, -1)
    out[..., index()["no_finding"]] = -1
    return out


def precision_recall(candidate: Array, reference: Array) -> tuple[Array, Array]:
    """Precision and recall of finding tuples (concept, side), as in two-way entailment at the level of the side.

    A claim is entailed by a statement on the same concept when it names no side or a side that is named there. A
    bilateral claim is two tuples.

    Args:
        candidate: [..., C] side codes, -1 where nothing is stated.
        reference: [..., C] the same for the reference.

    Returns:
        Two arrays [...]; NaN where there is nothing to be judged.
    """
    return _entailed(candidate, reference), _entailed(reference, candidate)


def _entailed(claims: Array, premises: Array) -> Array:
    total = (claims >= 0).astype(int) + (claims == BOTH)
    known = premises >= 0
    plain = (claims == NONE) & known
    left = ((claims == LEFT) | (claims == BOTH)) & ((premises == LEFT) | (premises == BOTH))
    right = ((claims == RIGHT) | (claims == BOTH)) & ((premises == RIGHT) | (premises == BOTH))
    good = plain.astype(int) + left + right
    n = total.sum(-1)
    return np.where(n > 0, good.sum(-1) / np.maximum(n, 1), np.nan)
