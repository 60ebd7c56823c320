"""Words of a sentence and the lexicon phrases among them."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from cxr_max.findings.lexicon import Role, Trie, load

# A hyphen or apostrophe inside a word only separates it; a slash is kept, since it means "or".
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s'’‘‐‑\-]|(?<!\w)-|-(?!\w)")


class Event(NamedTuple):
    """A phrase of the lexicon, or punctuation, at words `first` to `last` (inclusive)."""

    kind: str
    value: Any
    first: int
    last: int


def tokens(text: str, start: int, end: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Lower-case words in the lexicon's form and single punctuation marks, with their characters in the text."""
    forms = load().forms
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    for found in _TOKEN.finditer(text, start, end):
        word = found.group().lower()
        words.append(forms.get(word, word))
        spans.append(found.span())
    return words, spans


def longest(trie: Trie, words: Sequence[str], at: int) -> tuple[list[Role] | None, int]:
    """Roles of the longest phrase that starts at a word, and its last word; None when no phrase does."""
    node, roles, last = trie, None, at
    for index in range(at, len(words)):
        below = node.get(words[index])
        if below is None:
            break
        node = below
        if "" in node:
            roles, last = node[""], index
    return roles, last


def events(words: Sequence[str]) -> list[Event]:
    """All lexicon phrases of a sentence, longest first come, without overlap, and its punctuation."""
    trie = load().main
    found: list[Event] = []
    at, count = 0, len(words)
    while at < count:
        word = words[at]
        if word in trie:
            roles, last = longest(trie, words, at)
            if roles is not None:
                found.extend(Event(r.kind, r.value, at, last) for r in roles)
                at = last + 1
                continue
        elif word in _PUNCTUATION:
            found.append(Event(_PUNCTUATION[word], word, at, at))
        at += 1
    return found


_PUNCTUATION = {
    ",": "comma", ";": "stop", ".": "stop", "!": "stop", "?": "stop", "(": "stop", ")": "stop", "[": "stop",
    "]": "stop", "–": "stop", "—": "stop", "-": "stop", ":": "colon",
}  # fmt: skip


def generic_kinds(words: Sequence[str]) -> dict[str, int]:
    """Which of generic, advice, disclaimer and image cues occur, each with the first word of its first one."""
    trie = load().generic
    kinds: dict[str, int] = {}
    for at, word in enumerate(words):
        if word in trie:
            roles, _ = longest(trie, words, at)
            for role in roles or ():
                kinds.setdefault(role.kind, at)
    return kinds


def is_generic(words: Sequence[str]) -> bool:
    """Whether a sentence is a definition, advice or disclaimer: nothing about this image.

    Advice counts when no finding or part of the chest was named before it ("opacity, follow-up recommended").
    """
    kinds = generic_kinds(words)
    if "disclaimer" in kinds:
        return True
    if "image" in kinds:
        return False
    if "advice" in kinds and load().hot.isdisjoint(words[: kinds["advice"]]):
        return True
    return "generic" in kinds
