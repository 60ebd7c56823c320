"""Text of any dress to word hashes: case, line breaks, Markdown, HTML, escapes and punctuation folded away.

A word is a run of ASCII letters and digits; everything else, `___` of de-identification included, stands between words.
All of it is vectorised over whole chunks, since a release holds hundreds of megabytes of text.
"""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

SHINGLE = 12
"""Fewest consecutive words that can be a leak."""

LONG = 30
"""A run of this many words is a leak however many patients' reports hold it."""

CHUNK = 1 << 22
"""Most bytes hashed at once; larger chunks leave the processor's caches."""


class Words(NamedTuple):
    """The words of one chunk, in order.

    Attributes:
        hashes: 64-bit hash of each word, [n].
        starts: byte offset of each word's first letter, [n].
        limits: index after the last word of the same row of text, [n]; runs do not cross rows.
        rows: 0-based row of text of each word, [n].
    """

    hashes: U64
    starts: I64
    limits: I64
    rows: I64


def _letters() -> bytes:
    table = bytearray(b" " * 256)
    for code in range(256):
        char = chr(code)
        if code < 128 and char.isalnum():
            table[code] = ord(char.lower())
    return bytes(table)


_LETTERS = _letters()
_RNG = np.random.default_rng(0x12C0DE)
# A value per letter and a weight per place in the shingle: fixed by the seed, since the cached index is made with them.
_VALUES: U64 = _RNG.integers(1, 2**63, 256, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_PLACES: U64 = _RNG.integers(1, 2**63, SHINGLE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BASE = 0x9E3779B97F4A7C15


def _powers(base: int, n: int) -> U64:
    powers = np.full(n, np.uint64(base % 2**64))
    powers[0] = 1
    return np.multiply.accumulate(powers)


class _Tables:
    """Powers of the hash's base and of its inverse, made once when the first chunk is hashed."""

    up: U64 = np.empty(0, np.uint64)
    down: U64 = np.empty(0, np.uint64)

    @classmethod
    def need(cls, n: int) -> None:
        if cls.up.size < n:
            cls.up, cls.down = _powers(_BASE, n), _powers(pow(_BASE, -1, 2**64), n)


BREAK = b"\x1e\n"
"""What stands between rows of text in one chunk (a record separator): runs do not cross it."""

_NUMBERING = re.compile(rb"(?m)^[ \t>*+-]{0,12}\d{1,2}[.)](?=[ \t])")
_LINK = re.compile(rb"\]\([^()\s\x1e]{1,500}\)")
_LIGATURES = {"ﬀ": b"ff", "ﬁ": b"fi", "ﬂ": b"fl", "ﬃ": b"ffi", "ﬄ": b"ffl"}
# Soft hyphen, zero-width space, joiners, byte-order mark: nothing is seen where they stand.
_INVISIBLE = [c.encode() for c in "\u00ad\u200b\u200c\u200d\u2060\ufeff"]
_INLINE = re.compile(
    rb"</?(?:b|i|u|s|em|strong|span|mark|a|sub|sup|font|code|small|wbr|ins|del|tt)(?:\s[^<>\x1e]{0,2000})?/?>", re.I
)
_TAG = re.compile(rb"<[/!?a-zA-Z][^<>\x1e]{0,4000}>")
_ENTITY = re.compile(rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
_ESCAPE = re.compile(rb"\\+(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrtbfv'\"/\\])|%[0-9a-fA-F]{2}")
_DRESSED = (b"\\", b"<", b"&", b"%")


def _blank(match: "re.Match[bytes]") -> bytes:
    # Line breaks stay, so that lines can still be counted.
    return bytes(10 if c == 10 else 32 for c in match.group())


def undress(text: bytes) -> bytes | None:
    """The text without tags, entities and escapes, line breaks kept; None when it has none of these."""
    if not any(mark in text for mark in _DRESSED):
        return None
    bare = _ESCAPE.sub(_blank, text)
    if b"<" in bare:
        bare = _TAG.sub(_blank, _INLINE.sub(b"", bare))
    bare = _ENTITY.sub(_blank, bare)
    return None if bare == text else bare


def unnumber(text: bytes) -> bytes | None:
    """The text without the numbers of numbered lists, which a copy may have gained; None when there are none."""
    bare = _NUMBERING.sub(_blank, text)
    return None if bare == text else bare


def visible(text: bytes) -> bytes:
    """The text without invisible characters and with ligatures spelt out."""
    if not text.isascii():
        for mark in _INVISIBLE:
            text = text.replace(mark, b"")
        for ligature, letters in _LIGATURES.items():
            text = text.replace(ligature.encode(), letters)
    return text


def read(text: bytes) -> Words:
    """Hash the words of a text, `visible` already; `BREAK` stands between its rows. Best at most `CHUNK` bytes."""
    codes = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(codes == BREAK[0]) if BREAK[:1] in text else np.empty(0, np.int64)
    # Every replacement is as long as what it replaces.
    if b"](" in text:
        text = _LINK.sub(_blank, text)
    folded = np.frombuffer(text.translate(_LETTERS), np.uint8)
    starts, hashes = _hash(folded)
    firsts = np.searchsorted(starts, breaks)
    row = np.searchsorted(breaks, starts)
    limits = np.append(firsts, starts.size)[row]
    return Words(hashes, starts, limits, row)


def _hash(folded: npt.NDArray[np.uint8]) -> tuple[I64, U64]:
    _Tables.need(folded.size + 1)
    inside = np.zeros(folded.size + 2, np.int8)
    inside[1:-1] = folded != 32
    edges = np.flatnonzero(np.diff(inside))
    starts, ends = edges[::2], edges[1::2]
    sums = np.zeros(folded.size + 1, np.uint64)
    values = np.take(_VALUES, folded)
    values *= _Tables.up[: folded.size]
    np.cumsum(values, out=sums[1:])
    return starts.astype(np.int64), mix((sums[ends] - sums[starts]) * _Tables.down[starts])


def mix(values: U64) -> U64:
    """Spread the bits of 64-bit values (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def shingles(hashes: U64) -> U64:
    """The hash of each run of `SHINGLE` words, [n - SHINGLE + 1]; empty when there are fewer words."""
    n = hashes.size - SHINGLE + 1
    if n <= 0:
        return np.empty(0, np.uint64)
    total = np.zeros(n, np.uint64)
    for place, weight in enumerate(_PLACES):
        total += hashes[place : place + n] * weight
    return mix(total)


def short(hashes: U64) -> npt.NDArray[np.uint32]:
    """Word hashes of 32 bits, never 0: 0 stands between reports."""
    return np.maximum((hashes >> np.uint64(32)).astype(np.uint32), np.uint32(1))
