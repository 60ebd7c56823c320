"""What a sentence asserts: mentions of findings with status, from the phrases found in it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cxr_max.findings.lexicon import State, load
from cxr_max.findings.words import Event

LIST = frozenset({"finding", "subject", "comma", "coordinate", "either", "side", "zone", "fresh"})
LINKS = frozenset({"coordinate", "either", "comma", "side", "zone", "fresh"})
LISTS = frozenset({"coordinate", "either", "comma"})
REACH = 14
"""Events after a mention among which a cue for it is looked for."""
MAX_CLAUSE = 32
"""Events after which a clause ends in any case."""
CLOSE = 5
"""Words between a state and the subject that follows it ("elevation of the right hemidiaphragm")."""


class Mention(NamedTuple):
    """One concept named in a clause: by a phrase, or by a subject and its state.

    Attributes:
        concept: id.
        status: present, uncertain or absent; None when the clause says nothing about this image.
        rule: how found, and the cue that set the status.
        first, last: its words in the sentence.
        place: index of the event, in the clause, that side and zone are looked for around.
        clause: the events of its clause.
    """

    concept: str
    status: str | None
    rule: str
    first: int
    last: int
    place: int
    clause: Sequence[Event]


def clauses(found: Sequence[Event]) -> Iterator[list[Event]]:
    """Cut a sentence's events at stops and where a new proposition begins."""
    current: list[Event] = []
    for index, event in enumerate(found):
        if event.kind == "stop":
            if current:
                yield current
            current = []
            continue
        if event.kind in ("comma", "coordinate") and _new_proposition(current, found, index):
            yield current
            current = []
            continue
        current.append(event)
        if len(current) == MAX_CLAUSE:
            yield current
            current = []
    if current:
        yield current


def _new_proposition(left: Sequence[Event], found: Sequence[Event], at: int) -> bool:
    """Whether what follows a comma or "and" has a subject and a predicate of its own, after a complete left side."""
    kinds = {e.kind for e in left}
    complete = "finding" in kinds or ("subject" in kinds and bool(kinds & {"state", "normal"}))
    if not complete:
        return False
    subject = finding = False
    for event in found[at + 1 :]:
        if event.kind in LIST:
            subject |= event.kind == "subject"
            finding |= event.kind == "finding"
            continue
        predicate = event.kind in ("normal", "state") or (event.kind == "verb" and event.value in _FINITE)
        if subject and (predicate or event.kind == "verb"):
            return not (finding and _open_negation(left, found, at))
        return finding and predicate and event.kind == "verb" and not _open_negation(left, found, at)
    return False


_FINITE = frozenset({"is", "are", "was", "were", "has", "have", "remain", "appear"})


def _open_negation(left: Sequence[Event], found: Sequence[Event], at: int) -> bool:
    """Whether a negated list goes on: a negation on the left and an "or" still to come."""
    return any(e.kind == "neg" for e in left) and _or_follows(found, at)


def _or_follows(found: Sequence[Event], at: int) -> bool:
    for event in found[at:]:
        if event.kind == "stop":
            return False
        if event.kind == "either" or (event.kind == "coordinate" and event.value in ("or", "nor")):
            return True
    return False


class _Reach(NamedTuple):
    """Cues in force at one event of a clause."""

    neg: str | None
    unc: str | None
    drop: str | None


def _reaches(clause: Sequence[Event]) -> list[_Reach]:
    """For every event, which cue before it reaches it."""
    neg = unc = drop = None
    named = False
    result = []
    for index, event in enumerate(clause):
        kind = event.kind
        named = named or kind in ("finding", "subject")
        if kind == "neg":
            neg = str(event.value)
        elif kind == "unc" or (kind == "unc_after" and not named):
            unc = unc or str(event.value)
        elif kind == "drop":
            drop = str(event.value)
        elif kind == "stop_neg":
            neg = None
        elif kind in ("comma", "coordinate") and event.value not in ("or", "nor", "and or"):
            follows = clause[index + 1] if index + 1 < len(clause) else None
            new = follows is not None and follows.kind == "fresh" and follows.first == event.last + 1
            if not _or_follows(clause, index):
                if new:
                    neg = unc = None
                if kind == "comma" and unc and not unc.startswith("differential"):
                    unc = None
        result.append(_Reach(neg, unc, drop))
    return result


def _after(clause: Sequence[Event], at: int) -> tuple[str, str] | None:
    """The cue after an event that sets its status: ("neg" | "unc", phrase)."""
    verb = False
    for index in range(at + 1, min(len(clause), at + 1 + REACH)):
        kind = clause[index].kind
        twin = clause[index + 1] if index + 1 < len(clause) else None
        if kind in ("neg", "unc") and twin and twin.first == clause[index].first and twin.kind.endswith("_after"):
            continue
        if clause[index].first == clause[at].first or (kind == "subject" and clause[index - 1].kind not in LISTS):
            continue
        if kind == "neg_after" or (kind == "normal" and verb):
            return "neg", str(clause[index].value)
        if kind == "unc_after":
            return "unc", str(clause[index].value)
        if kind == "neg" and verb and clause[index].value == "not":
            ahead = clause[index + 1 : index + 2]
            if ahead and ahead[0].kind == "verb":
                return "neg", "not"
            return None
        if kind in ("verb", "colon"):
            if verb:
                return None
            verb = True
        elif kind not in LINKS and kind != "finding":
            return None
    return None


def _status(clause: Sequence[Event], reach: _Reach, at: int, default: str) -> tuple[str | None, str]:
    """Status of a mention and the cue that set it."""
    if reach.drop:
        return None, f"drop:{reach.drop}"
    after = _after(clause, at)
    if reach.neg:
        if after and after[0] == "unc":
            return "uncertain", f"unc:{after[1]}"
        return "absent", f"neg:{reach.neg}"
    if after and after[0] == "neg":
        return "absent", f"neg:{after[1]}"
    if reach.unc:
        return "uncertain", f"unc:{reach.unc}"
    if after:
        return "uncertain", f"unc:{after[1]}"
    if default == "present" and _alternative(clause, at):
        return "uncertain", "unc:or"
    return default, ""


def _alternative(clause: Sequence[Event], at: int) -> bool:
    """Whether "or" links the event to another finding next to it."""
    for step in (1, -1):
        index, seen = at + step, False
        while 0 <= index < len(clause):
            kind = clause[index].kind
            if kind == "either":
                seen = True
            elif kind == "finding":
                if seen:
                    return True
                break
            elif kind not in ("side", "zone", "fresh", "subject"):
                break
            index += step
    return False


def mentions(found: Sequence[Event]) -> Iterator[Mention]:
    """All mentions of a sentence, clause by clause."""
    for clause in clauses(found):
        reaches = _reaches(clause)
        for index, event in enumerate(clause):
            if event.kind == "finding":
                status, cue = _status(clause, reaches[index], index, "present")
                yield Mention(
                    _narrow(clause, event.value), status, _rule("phrase", cue), event.first, event.last, index, clause
                )
        yield from _states(clause, reaches)


def _narrow(clause: Sequence[Event], concept: str) -> str:
    """The narrower concept a finding stands for beside some subject ("fracture of the left rib"), or itself."""
    for (broad, subject), narrow in load().refine.items():
        if concept == broad and any(e.kind == "subject" and e.value == subject for e in clause):
            return narrow
    return concept


def _rule(how: str, cue: str) -> str:
    return f"{how}/{cue}" if cue else how


def _states(clause: Sequence[Event], reaches: Sequence[_Reach]) -> Iterator[Mention]:
    """Subjects paired with their states: "X is S", "S X", "S of X"."""
    subjects: list[int] = []
    closed = False
    for index, event in enumerate(clause):
        if event.kind == "subject":
            if closed:
                subjects, closed = [], False
            subjects.append(index)
        elif event.kind in ("state", "normal"):
            after_verb = index > 0 and clause[index - 1].kind in ("verb", "colon", "neg") and bool(subjects)
            pairs = [] if after_verb else _following(clause, index)
            made = list(_pair(clause, reaches, index, pairs))
            if not made and (subjects or not pairs):
                made = list(_pair(clause, reaches, index, subjects))
                closed = closed or bool(subjects)
            yield from made
        elif event.kind == "finding":
            closed = True


def _following(clause: Sequence[Event], at: int) -> list[int]:
    """Subjects right after a state, and those coordinated with them."""
    found: list[int] = []
    last = clause[at].last
    for index in range(at + 1, len(clause)):
        event = clause[index]
        if event.kind == "subject" and (found or event.first - last <= CLOSE):
            found.append(index)
        else:
            fresh = index + 1 < len(clause) and clause[index + 1].kind == "fresh"
            linked = event.kind in ("coordinate", "comma") and found and not fresh
            twin = event.kind in ("state", "normal") and event.first == clause[at].first
            if not (linked or twin or event.kind in ("side", "zone", "fresh")):
                break
    return found


def _pair(clause: Sequence[Event], reaches: Sequence[_Reach], at: int, subjects: Sequence[int]) -> Iterator[Mention]:
    event = clause[at]
    normal = load().normal
    seen: set[str] = set()
    for subject in subjects:
        name = str(clause[subject].value)
        first, last = min(event.first, clause[subject].first), max(event.last, clause[subject].last)
        if event.kind == "normal":
            if reaches[at].neg is None or str(reaches[at].neg) == str(event.value):
                for concept in normal[name]:
                    if concept not in seen:
                        seen.add(concept)
                        yield Mention(concept, "absent", f"normal:{event.value}", first, last, subject, clause)
            continue
        state: State = event.value
        if name in state.subjects and state.concept not in seen:
            seen.add(state.concept)
            status, cue = _status(clause, reaches[at], at, state.status)
            yield Mention(state.concept, status, _rule("state", cue), first, last, subject, clause)
