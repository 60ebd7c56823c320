"""Side and zone of a mention: the nearest words of its clause, else its heading."""

from collections.abc import Sequence
from typing import Any

from cxr_max.findings.model import Side, Zone
from cxr_max.findings.scope import Mention
from cxr_max.findings.words import Event

_OVER = frozenset({"zone", "coordinate", "subject", "state", "fresh", "unc", "verb", "unless", "neg", "comma"})
_CROSS = frozenset({"zone", "coordinate", "either", "subject", "state", "fresh", "verb", "neg_after", "unc_after"})


def sides(mention: Mention) -> tuple[Side, ...]:
    """The sides a mention is on, in the order left, right; empty when its clause names none."""
    found = _near(mention.clause, mention.place, "side")
    named = {side for value in found for side in value}
    both: tuple[Side, ...] = ("left", "right")
    return tuple(s for s in both if s in named)


def zone(mention: Mention) -> Zone | None:
    """The zone of the lung a mention is in, or None."""
    found = _near(mention.clause, mention.place, "zone")
    return found[0] if found else None


def _near(clause: Sequence[Event], at: int, kind: str) -> list[Any]:
    """Values of a kind before the mention back to the last one, else after it up to the next."""
    mine = [e.value for e in clause if e.kind == kind and e.first >= clause[at].first and e.last <= clause[at].last]
    if mine:
        return mine
    before: list[Any] = []
    linked = True
    for index in range(at - 1, -1, -1):
        event = clause[index]
        if event.kind == kind:
            if before and not linked:
                break
            before.append(event.value)
            linked = False
        elif event.kind in ("coordinate", "either"):
            linked = True
        elif event.kind not in _OVER or (before and event.kind in ("verb", "comma")):
            break
    if before:
        return before
    after: list[Any] = []
    linked = True
    for index in range(at + 1, len(clause)):
        event = clause[index]
        if event.kind == kind:
            if after and not linked:
                break
            after.append(event.value)
            linked = False
        elif event.kind in ("coordinate", "either"):
            linked = True
        elif event.kind not in _CROSS:
            break
    return after
