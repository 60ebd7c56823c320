"""Reads an essay back by the grammar that wrote it: an extractor that shares nothing with the lexicon of `findings`.

A sentence is known when it is, word for word, one of the clauses the teachers can write; every other sentence asserts
nothing. So it suits what models trained on synthetic essays write, and no real text.
"""

import re
from functools import cache
from itertools import product
from typing import NamedTuple

from cxr_max.synth.concepts import BOTH, LEFT, NONE, RIGHT, SIDE_CODES, concepts, phrases, tuple_sides
from cxr_max.synth.grammar import teacher_clauses

NAME, VERSION = "grammar", "1"
_SENTENCE = re.compile(r"(?<=[.!?])\**\s+(?=[A-Z*-])|\n+")
_LEAD = re.compile(r"^(?:[-*]\s+)?(?:\*{1,2}(?:observation|finding|image):\*{1,2}\s*)?\**")
_LENGTH = re.compile(r"\b\d\.\d(?= cm)")


class Claim(NamedTuple):
    """One assertion.

    Attributes:
        concept: id of the concept.
        label: one of the 14, or None for a sign.
        status: present, uncertain or absent.
        side: left, right or None; a bilateral finding is two claims.
    """

    concept: str
    label: str | None
    status: str
    side: str | None


def claims(text: str) -> tuple[Claim, ...]:
    """The assertions of an essay in order, each once."""
    known = _known()
    found = (claim for sentence in _SENTENCE.split(text) for claim in known.get(_plain(sentence), ()))
    return tuple(dict.fromkeys(found))


def _plain(sentence: str) -> str:
    bare = _LEAD.sub("", sentence.strip().lower()).rstrip("*").rstrip(".!? ")
    return _LENGTH.sub("#", bare)


@cache
def _known() -> dict[str, tuple[Claim, ...]]:
    """Every clause filled in every way, to what it says; a clause that says two things in two readings says nothing."""
    found: dict[str, tuple[Claim, ...]] = {}
    unclear = set()
    for concept, status, form, pattern in teacher_clauses():
        about = concepts()[concept]
        for code in {"plain": (NONE,), "one": (LEFT, RIGHT), "both": (BOTH,)}[form]:
            said = tuple(Claim(about.id, about.label, status, side) for side in tuple_sides(code))
            for text in _filled(pattern, code, about.degrees):
                key = _plain(text)
                if found.setdefault(key, said) != said:
                    unclear.add(key)
    return {key: said for key, said in found.items() if key not in unclear}


def _filled(pattern: str, code: int, degrees: tuple[str, ...]) -> set[str]:
    """A clause with every severity and place; sides by their code, lengths as one mark."""
    bank = phrases()["both_places" if code == BOTH else "places"]
    places = [p for zone in bank.values() for p in zone] if "{place" in pattern else [""]
    texts = set()
    for place, degree in product(places, degrees if "{sev}" in pattern else ("",)):
        text = pattern.replace("{places}", place).replace("{place}", place).replace("{sev}", degree)
        texts.add(text.replace("{side}", SIDE_CODES[code] or "").replace("{cm}", "#"))
    return texts
