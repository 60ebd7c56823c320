"""Words of a sentence and the lexicon phrases among them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cxr_max.findings.lexicon import Role, Trie, load

# A hyphen or apostrophe inside a word only separates it; a slash is kept, since it means "or".
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s'’‘‐‑\-]|(?<!\w)-|-(?!\w)")


MAX_EVENTS = 64


class Event(NamedTuple):
    """A phrase of the lexicon, or punctuation, at words `first` to `last` (inclusive)."""

    kind: str
    value: Any
    first: int
    last: int


def tokens(text: str, start: int, end: int) -> tuple[str, ...]:
    """Lower-case words and single punctuation marks of a part of a text."""
    part = text[start:end]
    lower = part.lower()
    if len(lower) != len(part):
        # A few letters grow when lowered; they must not, or words and `spans` would part ways.
        lower = "".join(low if len(low := c.lower()) == 1 else c for c in part)
    return tuple(_TOKEN.findall(lower))


def spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Start and end, in the text, of each of `tokens`."""
    return [(start + found.start(), start + found.end()) for found in _TOKEN.finditer(text[start:end])]


def longest(trie: Trie, words: Sequence[str], at: int) -> tuple[list[Role] | None, int]:
    """Roles of the longest phrase that starts at a word, and its last word; None when no phrase does."""
    node: Trie | None = trie
    roles, last, count = None, at, len(words)
    for index in range(at, count):
        node = node.get(words[index]) if node else None
        if node is None:
            break
        ending = node.get("")
        if ending is not None:
            roles, last = ending, index
    return roles, last


def events(words: Sequence[str]) -> list[Event]:
    """The lexicon phrases of a sentence, longest first come, without overlap, and its punctuation.

    At most MAX_EVENTS of them: a sentence with more is no prose, and every later step would pay for it.
    """
    trie = load().main
    found: list[Event] = []
    at, count = 0, len(words)
    while at < count and len(found) < MAX_EVENTS:
        word = words[at]
        if word in trie:
            roles, last = longest(trie, words, at)
            if roles is not None:
                for kind, value in roles:
                    found.append(Event(kind, value, at, last))
                at = last
        elif word in _PUNCTUATION:
            found.append(Event(_PUNCTUATION[word], word, at, at))
        at += 1
    return found


_PUNCTUATION = {
    ",": "comma", ";": "stop", ".": "stop", "!": "stop", "?": "stop", "(": "stop", ")": "stop", "[": "stop",
    "]": "stop", "–": "stop", "—": "stop", "-": "stop", ":": "colon",
}  # fmt: skip


# One for all: a long text has very many sentences.
_NO_KINDS: Mapping[str, int] = {}


def generic_kinds(words: Sequence[str]) -> Mapping[str, int]:
    """Which of generic, advice, disclaimer and image cues occur, each with the first word of its first one."""
    trie = load().generic
    kinds: dict[str, int] = {}
    for at, word in enumerate(words):
        if word in trie:
            roles, _ = longest(trie, words, at)
            for role in roles or ():
                kinds.setdefault(role.kind, at)
    return kinds or _NO_KINDS


def is_generic(words: Sequence[str], kinds: Mapping[str, int]) -> bool:
    """Whether a sentence is a definition, advice or disclaimer: nothing about this image.

    Advice counts when no finding or part of the chest was named before it ("opacity, follow-up recommended").

    Args:
        words: its tokens.
        kinds: its `generic_kinds`.
    """
    if "disclaimer" in kinds:
        return True
    if not kinds or "image" in kinds:
        return False
    if "advice" in kinds and load().hot.isdisjoint(words[: kinds["advice"]]):
        return True
    return "generic" in kinds
