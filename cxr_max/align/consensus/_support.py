"""Who says what: a teacher's position on findings, and which teachers support or oppose one.

Support is entailment between assertions (`findings.entail`) with its direction minded: "left effusion" supports
"effusion", an affirmation supports the hedged form of itself, and "no effusion" supports "no left effusion"; none of
these the other way round.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from cxr_max import findings
from cxr_max.align.consensus._panels import Panel, Support
from cxr_max.findings.entail import Cell, Level, ancestors, cells
from cxr_max.findings.model import Finding, Step

Positions = Mapping[str, frozenset[Cell]]
"""Teacher to what they assert."""
AFFIRMED = ("present", "uncertain")


def asserted(found: Iterable[Finding], level: Level) -> frozenset[Cell]:
    """Affirmed, hedged and denied cells of findings."""
    return cells(found, level=level, unc="own", mode="present+absent")


def positions(panel: Panel, extracted: Sequence[Sequence[Finding]], level: Level) -> Positions:
    """What each teacher holds: what more than half of their generations say (with one generation, what it says).

    Args:
        panel: answers, of one or more generations a teacher.
        extracted: findings of each answer.
        level: concept, side or zone.
    """
    said: dict[str, list[frozenset[Cell]]] = {}
    for answer, found in zip(panel.answers, extracted, strict=True):
        said.setdefault(answer.teacher, []).append(asserted(found, level))
    held = {}
    for teacher, texts in said.items():
        every = frozenset().union(*texts)
        count = Counter(c for c in every for text in texts if holds(c, text))
        # A text that contradicts itself holds neither, so a cell it names itself may be missing here.
        held[teacher] = frozenset(c for c in every if 2 * count[c] > len(texts))
    return held


def holds(cell: Cell, said: frozenset[Cell]) -> bool:
    """Whether what was said entails a cell."""
    same = [p for p in said if p.concept == cell.concept]
    if cell.status == "absent":
        affirmed = any(p.status in AFFIRMED and _overlap(p, cell) for p in same)
        denied = any(p.status == "absent" and p.side in (None, cell.side) and p.zone in (None, cell.zone) for p in same)
        return denied and not affirmed
    enough = AFFIRMED if cell.status == "uncertain" else ("present",)
    return any(p.status in enough and cell.side in (None, p.side) and cell.zone in (None, p.zone) for p in same)


def opposes(cell: Cell, said: frozenset[Cell]) -> bool:
    """Whether what was said denies what a cell affirms, or affirms what it denies; another side opposes nothing."""
    if cell.status == "absent":
        return any(p.concept == cell.concept and p.status in AFFIRMED and _overlap(p, cell) for p in said)
    return holds(cell._replace(status="absent"), said)


def _overlap(one: Cell, other: Cell) -> bool:
    return one.side in (None, other.side) or other.side is None


def implies(stronger: Cell, weaker: Cell) -> bool:
    """Whether one cell entails another."""
    return holds(weaker, frozenset({stronger}))


def excludes(affirmed: Cell, denied: Cell) -> bool:
    """Whether an affirmed cell makes a denial of the same or a broader concept untrue."""
    broader = denied.concept in ancestors(affirmed.concept)
    return (affirmed.concept == denied.concept or broader) and _overlap(affirmed, denied)


def supporters(cell: Cell, held: Positions) -> frozenset[str]:
    """Teachers whose position entails a cell."""
    return frozenset(t for t, said in held.items() if holds(cell, said))


def clauses(steps: Sequence[Step], found: Sequence[Finding]) -> Iterator[tuple[Step, tuple[Finding, ...]]]:
    """Steps that assert something about the image, each with its findings."""
    bounds = [s.start for s in steps] + [10**12]
    at = 0
    for (start, end), step in zip(pairwise(bounds), steps, strict=True):
        inside = []
        while at < len(found) and found[at].start < end:
            if found[at].start >= start:
                inside.append(found[at])
            at += 1
        if inside and not step.generic:
            yield step, tuple(inside)


def of_text(text: str, held: Positions, level: Level) -> tuple[Support, ...]:
    """For every clause of a text that asserts something, the teachers who support all of it."""
    extraction = findings.extract(text)
    out = []
    for step, inside in clauses(extraction.steps, extraction.findings):
        said = asserted(inside, level)
        who = frozenset.intersection(*(supporters(c, held) for c in said))
        out += [Support(step.start, step.end, teacher) for teacher in sorted(who)]
    return tuple(out)
