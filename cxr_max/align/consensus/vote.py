"""`vote`: an extractive consensus, put together from the teachers' own clauses that enough teachers support.

A finding passes when at least k teachers assert it and more of them do than say the opposite. k is more than half of
the teachers who have a text, and at least 2: one voice is no consensus, and a teacher who declined counts among those
who have a text, so that few voices left by many refusals do not pass for agreement. For each finding that passes the
one clause is taken that says nothing of which any part lacks k supporters; among several, the one that repeats least of
what stands already, then one that does not point back to a sentence left behind ("This may be ..."), then the one with
the fewest words that no other teacher used (severity and measures are not voted
on), then the shortest. Findings the prompt names come first, then others, then what is denied. No model, no chance:
the same release gives the same bytes.

What is voted on is what the rule extractor reads; agreement is no proof, since teachers were told the diagnoses and may
share an error.
"""

import multiprocessing
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

from cxr_max import findings
from cxr_max.align.consensus._panels import Consensus, LeftOut, Panel, Support, Work
from cxr_max.align.consensus._support import (
    AFFIRMED,
    Positions,
    asserted,
    clauses,
    excludes,
    implies,
    opposes,
    positions,
    supporters,
)
from cxr_max.align.losses import check_choice
from cxr_max.errors import UsageError
from cxr_max.findings.entail import Cell, Level
from cxr_max.findings.model import Extraction
from cxr_max.progress import track
from cxr_max.schema import SIDES, STATUSES

NAME = "vote"
NOTHING = "no finding has enough support"
TOO_FEW = "fewer than two teachers have a text"
_CHUNK = 64
_MARKUP = re.compile(r"[*_`#~]+")
_TABLE = re.compile(r"\s*\|\s*")
_LEAD = re.compile(r"[A-Za-z][A-Za-z ]{0,40}: ")
_POINTS_BACK = re.compile(
    r"(?:this|these|those|they|such|both)\b(?! (?:image|film|radiograph|lungs?|sides?)\b)", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+")
_ORDER = {status: i for i, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        k: supporters a finding needs; None = more than half of the teachers who have a text. Never below 2.
        level: what has to agree: concept, side or zone.
    """

    k: int | None = None
    level: Level = "side"

    def __post_init__(self) -> None:
        check_choice("level", self.level, ("concept", "side", "zone"))
        if self.k is not None and self.k < 2:
            raise UsageError(f"k {self.k}; allowed: 2 and above, or none for more than half of the teachers")


class Clause(NamedTuple):
    """A clause that was copied.

    Attributes:
        text: as it stands in the consensus.
        teacher, generation, start, end: whose trajectory it was copied from, and where.
        cells: what it asserts.
        supporters: teachers who assert all of it.
    """

    text: str
    teacher: str
    generation: int
    start: int
    end: int
    cells: frozenset[Cell]
    supporters: frozenset[str]


def quorum(panel: Panel, hyper: Hyper) -> int:
    """The number of supporters a finding of this panel needs."""
    return max(2, len(panel.teachers) // 2 + 1) if hyper.k is None else hyper.k


def choose(panel: Panel, hyper: Hyper, extracted: Sequence[Extraction] | None = None) -> list[Clause]:
    """The clauses of an instance's consensus, in order; none when nothing has enough support.

    Args:
        panel: the teachers' answers.
        hyper: settings.
        extracted: what the extractor read in each answer, when it is known already.
    """
    if extracted is None:
        extracted = [findings.extract(a.text) for a in panel.answers]
    held = positions(panel, [e.findings for e in extracted], hyper.level)
    passed = _passed(held, quorum(panel, hyper))
    pool = list(_candidates(panel, extracted, held, passed, hyper))
    words = {t: _words(a.text for a in panel.answers if a.teacher != t) for t in panel.teachers}
    chosen: list[Clause] = []
    for target in _in_order(passed, panel):
        said = [c for clause in chosen for c in clause.cells]
        fitting = [x for x in pool if target in x.cells]
        if fitting and not any(implies(c, target) for c in said):
            chosen.append(min(fitting, key=lambda x: _rank(x, said, words[x.teacher])))
    return chosen


def _passed(held: Positions, k: int) -> dict[Cell, frozenset[str]]:
    """Cells with at least k supporters and fewer opponents, that do not contradict one another."""
    every = frozenset().union(*held.values()) if held else frozenset[Cell]()
    support = {c: supporters(c, held) for c in every}
    kept = {
        c: who
        for c, who in support.items()
        if len(who) >= k and len(who) > sum(opposes(c, said) for said in held.values())
    }
    affirmed = [c for c in kept if c.status in AFFIRMED]
    abnormal = any(_is_disease(c.concept) for c in affirmed)

    def stands(cell: Cell) -> bool:
        if cell.status != "absent":
            return True
        return not (abnormal and cell.concept in _OVERALL) and not any(excludes(a, cell) for a in affirmed)

    return {c: who for c, who in kept.items() if stands(c)}


_OVERALL = frozenset({"acute_disease", "lung_abnormality", "bone_abnormality"})
"""Concepts whose denial says that all is well."""


def _is_disease(concept: str) -> bool:
    known = findings.concepts()
    return concept not in known or (known[concept].blocks and known[concept].label != "Support Devices")


def _candidates(
    panel: Panel,
    extracted: Sequence[Extraction],
    held: Positions,
    passed: dict[Cell, frozenset[str]],
    hyper: Hyper,
) -> Iterator[Clause]:
    """Clauses all of whose findings passed, that k teachers support in full, and that mean the same on their own."""
    k = quorum(panel, hyper)
    for answer, extraction in zip(panel.answers, extracted, strict=True):
        for step, inside in clauses(extraction.steps, extraction.findings):
            said = asserted(inside, hyper.level)
            if not said or not all(c in passed for c in said):
                continue
            who = frozenset.intersection(*(passed[c] for c in said))
            if len(who) < k or answer.teacher not in who:
                continue
            text = _alone(step.text, step.section, said, hyper.level)
            if text:
                yield Clause(text, answer.teacher, answer.generation, step.start, step.end, said, who)


def _alone(text: str, section: str | None, said: frozenset[Cell], level: Level) -> str:
    """A clause as a sentence of its own, with its heading where it needs it; empty when it would say something else."""
    plain = _plain(text)
    bare = plain.partition(": ")[2] if _LEAD.match(plain) else ""
    for form in (bare, plain, f"{_plain(section or '').rstrip(':.')}: {plain}" if section else ""):
        if form and form[0].isalnum():
            sentence = form[0].upper() + form[1:]
            sentence = sentence if sentence.endswith((".", "!", "?")) else sentence.rstrip(" ,;:-") + "."
            read = findings.extract(sentence)
            if len(read.steps) == 1 and asserted(read.findings, level) == said:
                return sentence
    return ""


def _plain(text: str) -> str:
    return " ".join(_TABLE.sub(", ", _MARKUP.sub("", text)).split()).strip(" ,")


def _rank(
    clause: Clause, said: Sequence[Cell], others: frozenset[str]
) -> tuple[int, bool, int, int, str, str, int, int]:
    """Smaller is better; the last fields make the order total. `others`: words that other teachers used."""
    repeated = sum(any(implies(c, cell) for c in said) for cell in clause.cells)
    own = len(_words([clause.text]) - others)
    back = _POINTS_BACK.match(clause.text) is not None
    return repeated, back, own, len(clause.text), clause.text, clause.teacher, clause.generation, clause.start


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(w for text in texts for w in _WORD.findall(text.lower()))


def _in_order(passed: dict[Cell, frozenset[str]], panel: Panel) -> list[Cell]:
    """The most specific cells that passed: those the prompt names in its order, other affirmed, hedged, denied."""
    most = [c for c in passed if not any(d != c and implies(d, c) and not implies(c, d) for d in passed)]
    named = {d.casefold(): i for i, d in enumerate(panel.diseases)}

    def key(cell: Cell) -> tuple[int, int, int, str, int, str]:
        prompted = named.get(_label(cell.concept).casefold(), len(named)) if cell.status != "absent" else len(named)
        side = SIDES.index(cell.side) if cell.side in SIDES else -1
        return prompted, _ORDER[cell.status], -len(passed[cell]), cell.concept, side, cell.zone or ""

    return sorted(most, key=key)


def _label(concept: str) -> str:
    known = findings.concepts()
    return (known[concept].label or "") if concept in known else ""


def _written(panel: Panel, hyper: Hyper) -> Consensus | LeftOut:
    if len(panel.teachers) < 2:
        return LeftOut(panel.instance_id, TOO_FEW)
    chosen = choose(panel, hyper)
    if not chosen:
        return LeftOut(panel.instance_id, NOTHING)
    text, support = "", list[Support]()
    for i, clause in enumerate(chosen):
        start = len(text) + (len(_between(chosen[i - 1], clause)) if i else 0)
        text = (text + _between(chosen[i - 1], clause) if i else "") + clause.text
        support += [Support(start, len(text), teacher) for teacher in sorted(clause.supporters)]
    return Consensus(panel.instance_id, text, tuple(support))


def _between(one: Clause, other: Clause) -> str:
    """What is denied is a paragraph of its own; a heading in front of a clause must not reach the next one."""
    if _denies(one) != _denies(other):
        return "\n\n"
    return "\n" if _LEAD.match(one.text) or _LEAD.match(other.text) else " "


def _denies(clause: Clause) -> bool:
    return all(c.status == "absent" for c in clause.cells)


def _in_chunks(panels: Iterable[Panel]) -> Iterator[list[Panel]]:
    waiting = iter(panels)
    while chunk := list(islice(waiting, _CHUNK)):
        yield chunk


def _chunk(panels: Sequence[Panel], hyper: Hyper) -> list[Consensus | LeftOut]:
    return [_written(p, hyper) for p in panels]


def write(panels: Iterable[Panel], hyper: Hyper, work: Work) -> Iterator[Consensus | LeftOut]:
    """A consensus per panel, in the order they came."""
    vote = partial(_chunk, hyper=hyper)
    chunks = _in_chunks(track(panels, "counting votes", total=work.total))
    if work.jobs <= 1:
        for chunk in chunks:
            yield from vote(chunk)
        return
    # Not fork: Polars holds threads.
    with ProcessPoolExecutor(work.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[list[Consensus | LeftOut]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(vote, chunk))
                if len(waiting) > 2 * work.jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
