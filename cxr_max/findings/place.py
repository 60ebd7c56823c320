"""Side and zone of a mention: the nearest words of its clause, else its heading."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cxr_max.findings.lexicon import concepts
from cxr_max.findings.model import Side, Zone
from cxr_max.findings.scope import Mention
from cxr_max.findings.words import Event

_BEFORE = frozenset(
    {"zone", "side", "coordinate", "subject", "state", "fresh", "unc", "verb", "unless", "neg", "comma"}
)
_AFTER = frozenset(
    {"zone", "side", "coordinate", "either", "subject", "state", "fresh", "verb", "unc", "neg_after", "unc_after"}
)
_LINKS = frozenset(
    {"finding", "coordinate", "either", "unc", "stop_neg", "zone", "subject", "fresh", "verb", "state", "neg"}
)
_ON = frozenset({"overlying", "adjacent", "superimposed on", "obscuring"})
REACH = 14
"""Events before and after a mention among which its side and zone are looked for."""
_SHARED = frozenset(
    {"Atelectasis", "Consolidation", "Edema", "Lung Lesion", "Lung Opacity", "Pleural Effusion", "Pleural Other",
     "Pneumonia", "Pneumothorax"}
)  # fmt: skip
"""Labels of lung and pleura: such findings share the side that only one of them states ("left opacity, pneumonia")."""


def sides(mention: Mention) -> tuple[Side, ...]:
    """The sides a mention is on, in the order left, right; empty when its clause names none."""
    return named(_place(mention, "side"))


def named(values: Sequence[tuple[str, ...]]) -> tuple[Side, ...]:
    """The sides that side words name; a plural ("bases") means both only when no other word gives the side."""
    firm = [v for v in values if "plural" not in v] or values
    found = {side for value in firm for side in value}
    both: tuple[Side, ...] = ("left", "right")
    return tuple(s for s in both if s in found)


def related(concept: str, others: Iterable[str]) -> bool:
    """Whether a finding of lung or pleura stands under a heading that names another such finding."""
    return concepts()[concept].label in _SHARED and any(concepts()[o].label in _SHARED for o in others)


def zone(mention: Mention) -> Zone | None:
    """The zone of the lung a mention is in, or None."""
    found = _place(mention, "zone")
    return found[0] if found else None


def _place(mention: Mention, kind: str) -> list[Any]:
    """Values of a kind for a mention: within its words, else near it, else from the finding it is linked to."""
    clause, at = mention.clause, mention.place
    if not any(e.kind == kind for e in clause):
        return []
    first, last = clause[at].first, clause[at].last
    mine = [e.value for e in clause if e.kind == kind and e.first >= first and e.last <= last]
    if mine:
        return mine
    before = [e for e in reversed(clause[max(0, at - REACH) : at]) if e.first != first]
    after = _main_clause([e for e in clause[at + 1 : at + 1 + REACH] if e.first != first])
    found = _walk(before, kind, lambda e: e.kind in _BEFORE, ("verb", "comma"))
    found = found or _walk(after, kind, lambda e: e.kind in _AFTER or (e.kind == "stop_neg" and e.value in _ON), ())
    if found or mention.status == "absent" or concepts()[mention.concept].label not in _SHARED:
        return found
    return _walk(_linked(before), kind, _may_share, ("verb",)) or _walk(after, kind, _may_share, ())


def _walk(events: Iterable[Event], kind: str, crosses: Callable[[Event], bool], ends: Sequence[str]) -> list[Any]:
    """Values of the nearest events of a kind, and of those coordinated with them; `ends` stops it after the first."""
    found: list[Any] = []
    linked = True
    for event in events:
        if event.kind == kind:
            if found and not linked:
                break
            found.append(event.value)
            linked = "plural" in event.value
        elif event.kind in ("coordinate", "either"):
            linked = True
        elif not crosses(event) or (found and (event.kind in ends or event.kind == "finding")):
            break
    return found


def _main_clause(after: Sequence[Event]) -> list[Event]:
    """Events after a mention without a phrase that only describes it ("mass with irregular margins is in the left")."""
    for index, event in enumerate(after):
        if event.kind == "stop_neg" and event.value == "with":
            verb = next((i for i, e in enumerate(after) if i > index and e.kind in ("verb", "finding", "side")), None)
            if verb is not None and after[verb].kind == "verb":
                return [*after[:index], *after[verb:]]
    return list(after)


def _may_share(event: Event) -> bool:
    if event.kind == "finding":
        return concepts()[event.value].label in _SHARED
    return event.kind in _LINKS or event.kind == "side"


def _linked(before: Sequence[Event]) -> Iterable[Event]:
    """Events before a mention, nearest first, up to a comma that no cue ("consistent with", "likely") follows."""
    nearer: Event | None = None
    for event in before:
        if event.kind == "comma":
            if nearer is None or nearer.kind not in ("unc", "stop_neg", "either"):
                return
            continue
        nearer = event
        yield event
