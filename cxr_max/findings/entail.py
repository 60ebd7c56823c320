"""When one set of findings supports another: entailment, precision and recall, contradictions."""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args

from cxr_max.errors import UnknownNameError
from cxr_max.findings.chexpert import VALUES, combine
from cxr_max.findings.lexicon import concepts
from cxr_max.findings.model import Extraction, Finding
from cxr_max.findings.rules import extract

Level = Literal["concept", "side", "zone"]
Uncertain = Literal["pos", "neg", "drop", "own"]
Mode = Literal["present", "present+absent"]
NAN = float("nan")
_STATUS = {value: status for status, value in VALUES.items()}
_OPPOSITE = {"present": "absent", "absent": "present"}


class Cell(NamedTuple):
    """One tuple of a set of findings; side and zone are None where the level ignores them."""

    concept: str
    status: str
    side: str | None = None
    zone: str | None = None


class Alignment(NamedTuple):
    """How far a candidate's findings and a reference's support each other.

    Attributes:
        precision: entailed candidate tuples over all of them, NaN without any.
        recall: entailed reference tuples over all of them, NaN without any.
        entailed_c, n_c: their counts on the candidate's side.
        entailed_r, n_r: on the reference's side.
        contradictions: concepts contradicted, by status or by side; never credited.
        status_contradictions: concepts the one affirms and the other denies, at the same or an unnamed side.
        side_contradictions: concepts both affirm, on opposite sides only.
    """

    precision: float
    recall: float
    entailed_c: int
    n_c: int
    entailed_r: int
    n_r: int
    contradictions: int
    status_contradictions: int
    side_contradictions: int


def cells(
    findings: Iterable[Finding], *, level: Level = "side", unc: Uncertain = "pos", mode: Mode = "present"
) -> frozenset[Cell]:
    """The set of tuples of a text at a level, after the status policy.

    Statuses of one (concept, side, zone) are combined by CheXpert's precedence first. `unc`: count uncertain as present
    (pos), as absent (neg), not at all (drop), or as a status of its own (own). `mode`: affirmed tuples only, or denied
    ones as well.
    """
    values: dict[tuple[str, str | None, str | None], list[int]] = {}
    for f in findings:
        key = (f.concept, f.side if level != "concept" else None, f.zone if level == "zone" else None)
        values.setdefault(key, []).append(VALUES[f.status])
    found = set()
    for (concept, side, zone), statuses in values.items():
        status = _STATUS[combine(statuses) or 0]
        if status == "uncertain":
            status = {"pos": "present", "neg": "absent", "drop": "", "own": "uncertain"}[unc]
        if status and (status != "absent" or mode == "present+absent"):
            found.add(Cell(concept, status, side, zone))
    return frozenset(found)


def entailed(hypothesis: Cell, premises: Collection[Cell], *, hierarchy: bool = False) -> bool:
    """Whether some premise says at least as much as the hypothesis.

    Same concept (or, with `hierarchy`, a narrower one), same status, and the same side and zone where the hypothesis
    names them: a specific claim is not entailed by an unspecific one, but the other way round.
    """
    return any(
        (p.concept == hypothesis.concept or (hierarchy and hypothesis.concept in ancestors(p.concept)))
        and p.status == hypothesis.status
        and hypothesis.side in (None, p.side)
        and hypothesis.zone in (None, p.zone)
        for p in premises
    )


@cache
def ancestors(concept: str) -> frozenset[str]:
    """All broader concepts of one."""
    known = concepts()
    found: list[str] = []
    at = known[concept].parent if concept in known else None
    while at and at not in found:
        found.append(at)
        at = known[at].parent if at in known else None
    return frozenset(found)


Source = str | Extraction | Sequence[Finding]
"""A text, an extraction, or findings."""


def alignment(
    candidate: Source,
    reference: Source,
    *,
    level: Level = "side",
    unc: Uncertain = "pos",
    mode: Mode = "present",
    hierarchy: bool = False,
) -> Alignment:
    """Precision and recall of a candidate's findings against a reference's, by entailment in both directions.

    Args:
        candidate, reference: texts, extractions or findings.
        level: compare concepts, concepts with side (default), or with side and zone.
        unc: policy for uncertain findings, see `cells`.
        mode: affirmed findings only, or denied ones as well.
        hierarchy: let a narrower concept entail its broader ones.

    Raises:
        UnknownNameError: an option outside what is allowed.
    """
    for kind, given, allowed in (("level", level, Level), ("unc policy", unc, Uncertain), ("mode", mode, Mode)):
        if given not in get_args(allowed):
            raise UnknownNameError.of(kind, given, get_args(allowed))
    theirs, ours = _findings(candidate, "candidate"), _findings(reference, "reference")
    c = cells(theirs, level=level, unc=unc, mode=mode)
    r = cells(ours, level=level, unc=unc, mode=mode)
    entailed_c = sum(entailed(p, r, hierarchy=hierarchy) for p in c)
    entailed_r = sum(entailed(p, c, hierarchy=hierarchy) for p in r)
    status, side = contradictions(theirs, ours, unc=unc)
    return Alignment(
        entailed_c / len(c) if c else NAN, entailed_r / len(r) if r else NAN,
        entailed_c, len(c), entailed_r, len(r), len(status | side), len(status), len(side),
    )  # fmt: skip


def _findings(source: Source, role: Literal["candidate", "reference"]) -> Sequence[Finding]:
    if isinstance(source, str):
        return extract(source, role=role).findings
    return source.findings if isinstance(source, Extraction) else source


def contradictions(
    candidate: Iterable[Finding], reference: Iterable[Finding], *, unc: Uncertain = "pos"
) -> tuple[frozenset[str], frozenset[str]]:
    """Concepts contradicted by status, and by side: one affirms what the other denies; both affirm, opposite sides."""
    c = cells(candidate, unc=unc, mode="present+absent")
    r = cells(reference, unc=unc, mode="present+absent")
    status = {
        p.concept
        for p in c
        for q in r
        if p.concept == q.concept
        and _OPPOSITE.get(p.status) == q.status
        and (p.side == q.side or None in (p.side, q.side))
        and not entailed(p, r)
        and not entailed(q, c)
    }
    side = set()
    for concept in {p.concept for p in c} & {q.concept for q in r}:
        one = {p.side for p in c if p.concept == concept and p.status == "present"}
        other = {q.side for q in r if q.concept == concept and q.status == "present"}
        if one and other and None not in one | other and not one & other:
            side.add(concept)
    return frozenset(status), frozenset(side)
