"""Cut a text into sentences and steps, with offsets, sections and Markdown taken care of."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cxr_max.findings.model import Step
from cxr_max.findings.words import generic_kinds, is_generic, tokens

_LINE = re.compile(r"[^\r\n\x0b\x0c\x85\u2028\u2029]+")
_BULLET = re.compile(r"\s*(?:(?:[-*+•‣◦·–—]|\(?\d{1,3}[.)]|\(?[a-zA-Z][)])(?=\s)\s*|>+\s*)+")
_RULE = re.compile(r"[-*_=~|:\s]+")
_HASHES = re.compile(r"\s{0,3}#{1,6}(?=\s|\*)\s*")
_INLINE = re.compile(
    r"\s*(?:\*\*|__)\s*([^*_]{1,80}?)\s*:?\s*(?:\*\*|__)\s*(:|[-–—](?=\s))?\s*"
    r"|\s*([A-Za-z][A-Za-z /&(),'-]{1,60}):(?=\s|\*|$)\s*"
)
_ITEM = re.compile(r"(?:(?<=[.!?;:])|(?<=^))\s*\(?\d{1,2}[.)](?=\s*[A-Za-z])\s*")
_ITEM_START = frozenset(" \t(0123456789")
_STOP = re.compile(r"[.!?]+[\"')\]*_]*(?=\s|$)|(?<=[a-z)])\.(?=[A-Z][a-z])|[.!?]{2,}")
_SHORT = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|vs|e\.g|i\.e|eg|ie|cf|approx|fig|no|st|etc|resp|incl|a\.m|p\.m)|\b[A-Z])$", re.IGNORECASE
)
_MARKUP = re.compile(r"[*_`#]+")
_WORD = re.compile(r"\w")
MIN_WORDS = 3
"""A sentence of fewer words is joined to the step before it in the same section."""
MAX_HEADING = 200
MAX_SENTENCE = 1000
"""Characters after which a sentence is cut at the next white space, so that no input takes more than linear time."""


WRAPPED = (60, 100)
"""Longest line of a hard-wrapped text, in characters; reports are wrapped at about 80."""
LEAST_FILLED = 40
"""Characters of a line that can go on in the next."""
_ENDS = ".!?:;|#*"
_BLANKS = " \t"


class Sentence(NamedTuple):
    """One sentence or list item.

    Attributes:
        start, end: characters in the source.
        section: nearest heading above or in front of it.
        lead: the heading stands on the same line and this is the first sentence after it.
        generic: nothing about this image.
        kinds: its cues of generic talk, as `words.generic_kinds` gives them.
        words: lower-case words and punctuation.
    """

    start: int
    end: int
    section: str | None
    lead: bool
    generic: bool
    kinds: Mapping[str, int]
    words: tuple[str, ...]


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text in order; headings are context and yield none."""
    section: str | None = None
    for start, end in _lines(text):
        body = start
        if not text[start].isalnum():
            if _RULE.fullmatch(text, start, end):
                continue
            head = _HASHES.match(text, start, end)
            if head:
                section = _clean(text[head.end() : end]) or section
                continue
        bullet = _BULLET.match(text, start, end)
        if bullet:
            body = min(bullet.end(), end - 1)
        here, lead = None if text[body] == "|" else section, False
        inline = _INLINE.match(text, body, end) if text.find(":", body, end) >= 0 or text[body] in "*_ " else None
        if inline and _is_heading(inline, text, end):
            here, lead, body = _clean(inline.group(1) or inline.group(3)), True, inline.end()
            if body == end:
                # Alone on its line it stands over what follows, else over its own line only.
                section = here
        for a, b in _cut(text, body, end):
            words = tokens(text, a, b)
            if words:
                kinds = generic_kinds(words)
                yield Sentence(a, b, here, lead, is_generic(words, kinds), kinds, words)
                lead = False


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the lines; what a report's hard wrapping broke ("No evidence of / pneumothorax.") is one again."""
    physical = [line.span() for line in _LINE.finditer(text)]
    longest = max((b - a for a, b in physical), default=0)
    width = longest if WRAPPED[0] <= longest <= WRAPPED[1] else None
    first = 0
    for k, (_, end) in enumerate(physical):
        if k + 1 == len(physical) or not _goes_on(text, physical[k], physical[k + 1], width):
            yield physical[first][0], end
            first = k + 1


def _goes_on(text: str, line: tuple[int, int], after: tuple[int, int], width: int | None) -> bool:
    """Whether a line continues in the next: neither ends nor begins anything there, and it was full."""
    start, end = line
    while end > start and text[end - 1] in _BLANKS:
        end -= 1
    a, b = after
    while a < b and text[a] in _BLANKS:
        a += 1
    if a == b or end - start < LEAST_FILLED or text[end - 1] in _ENDS or text[start] == "#":
        return False
    if text[line[1] : after[0]] not in ("\n", "\r\n") or not (text[a].isalnum() or text[a] in "(_"):
        return False
    if _BULLET.match(text, a, b):
        return False
    if text[a].islower() or text[a].isdigit() or text[a] in "(_" or text[end - 1] == ",":
        return True
    inline = _INLINE.match(text, a, b) if text.find(":", a, b) >= 0 else None
    if width is None or (inline and _is_heading(inline, text, b)):
        return False
    word = a
    while word < b and not text[word].isspace():
        word += 1
    return end - start + 1 + word - a > width


def _is_heading(found: re.Match[str], text: str, end: int) -> bool:
    """A bold lead-in with a colon or alone on its line, or a few plain words before a colon."""
    if found.group(1) is not None:
        colon = found.group(2) is not None or text[found.start() : found.end()].rstrip(" *_").endswith(":")
        sentence = found.group(1).rstrip().endswith((".", "!", "?"))
        return colon or (found.end() == end and not sentence)
    return len(found.group(3).split()) <= 6


def _clean(heading: str) -> str:
    heading = heading[:MAX_HEADING].strip()
    return _BULLET.sub("", _MARKUP.sub("", heading), count=1).strip(" :\t")


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of one line, without their white space and list numbers."""
    at = start
    while at < end:
        if text[at] in _ITEM_START:
            item = _ITEM.match(text, at, end)
            at = item.end() if item else at
        stop = _next_stop(text, at, end)
        a, b = at, stop
        while a < b and not _WORD.match(text[a]):
            a += 1
        while b > a and text[b - 1].isspace():
            b -= 1
        if a < b:
            yield a, b
        at = stop


def _next_stop(text: str, at: int, end: int) -> int:
    limit = min(end, at + MAX_SENTENCE)
    position = at
    while True:
        found = _STOP.search(text, position, limit)
        if found is None:
            if limit == end:
                return end
            space = text.find(" ", limit, end)
            return end if space < 0 else min(space, limit + MAX_SENTENCE)
        before = text[max(at, found.start() - 8) : found.start()]
        number = found.start() - at <= 3 and before.strip().isdigit()
        if found.end() == end or not (number or (text[found.start()] == "." and _SHORT.search(before))):
            return found.end()
        position = found.end()


def segment(text: str) -> tuple[Step, ...]:
    """The reasoning steps of a text.

    Headings become the `section` of what follows; list items and sentences become steps; a fragment of fewer than
    three words joins the step before it. Steps are in order, do not overlap, and `text[start:end] == step.text`.
    """
    return group(text, list(sentences(text)))


def group(text: str, parts: list[Sentence]) -> tuple[Step, ...]:
    """Steps out of sentences."""
    found: list[list[Sentence]] = []
    for part in parts:
        short = len(part.words) < 2 * MIN_WORDS and sum(w.isalnum() for w in part.words) < MIN_WORDS
        near = found and found[-1][-1].section == part.section and not part.lead
        if short and near and not found[-1][-1].generic and not part.generic:
            found[-1].append(part)
        else:
            found.append([part])
    steps = []
    for parts_of in found:
        start, end = parts_of[0].start, parts_of[-1].end
        steps.append(Step(text[start:end], parts_of[0].section, start, end, all(p.generic for p in parts_of)))
    return tuple(steps)


__all__ = ["Sentence", "group", "segment", "sentences"]
