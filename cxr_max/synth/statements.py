"""What a report says of a study: which findings it names, hedges, negates or leaves out, and in which section.

A report is never wrong about a finding or its side, but it is not complete, as real ones are not.
"""

from random import Random
from typing import NamedTuple

from cxr_max.synth.concepts import NONE, concepts, index, of_label
from cxr_max.synth.grammar import Claim
from cxr_max.synth.world import World

STATED = {"finding": 0.95, "device": 0.97, "sign": 0.30}
"""Probability that a report names what is there."""
SIDE_STATED = 0.93
# Share of the positive mentions that are hedged, and of the absent cases that are negated, after the published counts
# of uncertain and negative labels.
_HEDGED = {
    "Pneumonia": 0.45, "Edema": 0.28, "Enlarged Cardiomediastinum": 0.45, "Pleural Other": 0.25, "Consolidation": 0.2,
    "Atelectasis": 0.18, "Lung Lesion": 0.14, "Cardiomegaly": 0.13, "Pleural Effusion": 0.09, "Pneumothorax": 0.08,
    "Fracture": 0.07, "Lung Opacity": 0.04,
}  # fmt: skip
_NEGATED = {
    "pneumothorax": 0.42, "pleural_effusion": 0.38, "consolidation": 0.24, "edema": 0.24, "pneumonia": 0.15,
    "cardiomegaly": 0.14, "enlarged_cardiomediastinum": 0.08, "lung_opacity": 0.03, "rib_fracture": 0.04,
    "lung_nodule": 0.02, "atelectasis": 0.02,
}  # fmt: skip
_LISTABLE = frozenset({"pneumothorax", "pleural_effusion", "consolidation", "pneumonia", "edema", "lung_nodule"})


class Said(NamedTuple):
    """One sentence to be: claims (several only in a list of negations), change, and the frame ("" = by status)."""

    claims: tuple[Claim, ...]
    change: str = ""
    kind: str = ""


class Plan(NamedTuple):
    """The sentences of both sections of a report."""

    findings: list[Said]
    impression: list[Said]


def kind_of(i: int) -> str:
    """Whether a concept is a finding, a device or a sign."""
    label = concepts()[i].label
    return "device" if label == "Support Devices" else "finding" if label else "sign"


def plan(world: World, s: int, rng: Random) -> Plan:
    """Decide what the report of study `s` says; peculiar reports (see `World.flag`) say nothing."""
    if world.flag[s]:
        return Plan([], [])
    normal = index()["no_finding"]
    present = [int(i) for i in world.present[s].nonzero()[0] if i != normal]
    said = [_positive(world, s, i, rng) for i in present if rng.random() < STATED[kind_of(i)]]
    negative = _negatives(world, s, rng)
    findings = [*said, *negative]
    rng.shuffle(findings)
    impression = _impression(world, s, said, rng)
    return Plan(findings, impression)


def _positive(world: World, s: int, i: int, rng: Random) -> Said:
    side = int(world.side[s, i])
    if rng.random() >= SIDE_STATED:
        side = NONE
    status = "uncertain" if rng.random() < _HEDGED.get(concepts()[i].label or "", 0.0) else "present"
    change = str(world.change[s, i])
    mentions = change in ("worsening", "improving", "stable", "new") and status == "present" and rng.random() < 0.6
    claim = Claim(i, status, side, int(world.zone[s, i]), int(world.level[s, i]))
    return Said((claim,), change if mentions else "")


def _negatives(world: World, s: int, rng: Random) -> list[Said]:
    more = 1.5 if world.present[s, index()["no_finding"]] else 0.8
    out: list[Said] = []
    listed: list[Claim] = []
    for name, share in _NEGATED.items():
        i = index()[name]
        if world.present[s, i] or _label_present(world, s, i):
            continue
        claim = Claim(i, "absent")
        if world.change[s, i] == "resolved" and rng.random() < 0.5:
            # It has gone since the visit before, from where it was then.
            gone = Claim(i, "absent", int(world.side[s - 1, i]), int(world.zone[s - 1, i]))
            out.append(Said((gone,), "resolved", "resolved"))
        elif rng.random() < min(0.95, share * more):
            if name in _LISTABLE and rng.random() < 0.6:
                listed.append(claim)
            else:
                out.append(Said((claim,)))
    return [*out, *([Said(tuple(listed), "", "list" if len(listed) > 1 else "")] if listed else [])]


def _label_present(world: World, s: int, i: int) -> bool:
    label = concepts()[i].label
    return label is not None and bool(world.present[s, list(of_label(label))].any())


def _impression(world: World, s: int, said: list[Said], rng: Random) -> list[Said]:
    main = [x for x in said if kind_of(x.claims[0].concept) == "finding"]
    main.sort(key=lambda x: -float(world.severity[s, x.claims[0].concept]))
    out = [Said(x.claims, x.change if rng.random() < 0.5 else "") for x in main if rng.random() < 0.93][:6]
    out += [Said(x.claims) for x in said if kind_of(x.claims[0].concept) == "device" and rng.random() < 0.85]
    if world.present[s, index()["no_finding"]] and rng.random() < 0.85:
        out.insert(0, Said((Claim(index()["no_finding"], "present"),)))
    elif not main or rng.random() < 0.15:
        free = [index()[n] for n in ("pneumothorax", "consolidation", "pneumonia", "pleural_effusion")]
        free = [i for i in free if not _label_present(world, s, i)]
        out += [Said((Claim(rng.choice(free), "absent"),))] if free else []
    return out
