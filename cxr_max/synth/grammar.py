"""From a claim to a clause: templates out of `phrases.toml`, chosen at random and filled in.

A chosen template can be filled again with another side; that is how the corrected twin of a wrong clause is made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import NamedTuple, TypeVar

from cxr_max.synth.concepts import BOTH, NONE, SIDE_CODES, ZONES, concepts, phrases

T = TypeVar("T")

VOICES = ("report", "teacher")
FORMS = ("plain", "one", "one", "both")
"""Name of the templates that fit each side code."""


class Template(NamedTuple):
    """One pattern: text with slots, plural or not, held out or not, and the zone it names in its own words."""

    text: str
    plural: bool
    held_out: bool
    zone: str


class Choice(NamedTuple):
    """A template with everything that is filled in, so that it can be filled again."""

    pattern: str
    concept: int
    held_out: bool
    plural: bool
    place: int
    cm: str
    degree: str
    zone: int
    says_zone: bool


@dataclass(frozen=True)
class Claim:
    """What is to be said: concept, status, side code, zone code (-1 none) and severity 1 to 3."""

    concept: int
    status: str
    side: int = NONE
    zone: int = -1
    severity: int = 1


def parse(raw: str) -> Template:
    """Read the marks in front of a phrase."""
    held, raw = raw.startswith("*"), raw.removeprefix("*")
    plural, raw = raw.startswith("~"), raw.removeprefix("~")
    zone = ""
    if raw.startswith("@"):
        zone, _, raw = raw[1:].partition(" ")
    return Template(raw, plural, held, zone)


class _Bank(NamedTuple):
    clauses: dict[str, tuple[Template, ...]]
    nouns: dict[str, tuple[Template, ...]]
    absent: tuple[Template, ...]
    bare: tuple[Template, ...]


@cache
def _banks(voice: str) -> tuple[_Bank, ...]:
    made = []
    for concept in concepts():
        row = phrases()["concept"][concept.id]
        made.append(
            _Bank(
                {k: tuple(map(parse, v)) for k, v in row[voice].items() if k != "absent"},
                {k: tuple(map(parse, v)) for k, v in row["noun"].items() if k != "bare"},
                tuple(map(parse, row["teacher"].get("absent", ()))),
                tuple(map(parse, row["noun"]["bare"])),
            )
        )
    return tuple(made)


@cache
def _frames(voice: str, kind: str) -> tuple[str, ...]:
    return tuple(phrases()["frames"][voice][kind])


@cache
def _places(zone: int, both: bool) -> tuple[str, ...]:
    return tuple(phrases()["both_places" if both else "places"][ZONES[zone]])


def choose(rng: Random, claim: Claim, voice: str, kind: str = "") -> Choice:
    """Pick a template for a claim.

    Args:
        rng: source of chance.
        claim: what is to be said.
        voice: "report" or "teacher".
        kind: frame to use (such as "resolved" or "summary"); empty lets the status decide, whole clauses included.
    """
    bank = _banks(voice)[claim.concept]
    if claim.status == "absent" and kind != "resolved":
        if bank.absent and not kind and rng.random() < 0.4:
            return _filled(rng, claim, _pick(rng, bank.absent))
        bare, frame = _pick(rng, bank.bare), _pick(rng, _frames(voice, kind or "absent"))
        return _filled(rng, claim, bare._replace(text=frame.replace("{bare}", bare.text)))
    form = FORMS[claim.side]
    whole = claim.status != "uncertain" and not kind and (rng.random() < 0.6 or not bank.nouns.get(form))
    if whole:
        return _filled(rng, claim, _pick(rng, _fitting(bank.clauses[form], claim.zone)))
    noun = _pick(rng, _fitting(bank.nouns[form], claim.zone))
    frame = _pick(rng, _frames(voice, kind or claim.status))
    return _filled(rng, claim, noun._replace(text=_insert(frame, noun)))


def _pick(rng: Random, items: tuple[T, ...]) -> T:
    return items[int(rng.random() * len(items))]


@cache
def _fitting(templates: tuple[Template, ...], zone: int) -> tuple[Template, ...]:
    """Templates that need no zone, or whose zone is the one at hand."""
    return tuple(
        t for t in templates if ("{place" not in t.text or zone >= 0) and (not t.zone or t.zone == _zone_name(zone))
    )


def _zone_name(zone: int) -> str:
    return ZONES[zone] if zone >= 0 else ""


@cache
def _insert(frame: str, noun: Template) -> str:
    bare = re.sub(r"^(an?|the) ", "", noun.text)
    verb = "are" if noun.plural else "is"
    return frame.replace("{np0}", bare).replace("{Np}", noun.text).replace("{np}", noun.text).replace("{is}", verb)


def _filled(rng: Random, claim: Claim, template: Template) -> Choice:
    names_zone = "{place" in template.text
    return Choice(
        template.text,
        claim.concept,
        _held_out(template),
        template.plural,
        int(rng.random() * len(_places(claim.zone, claim.side == BOTH))) if names_zone else 0,
        f"{0.6 + 2.9 * rng.random():.1f}" if "{cm}" in template.text else "",
        concepts()[claim.concept].degrees[claim.severity - 1],
        claim.zone,
        names_zone or bool(template.zone),
    )


@cache
def _remarked() -> frozenset[str]:
    return frozenset(phrases()["remarked"]["seen"])


def _held_out(clause: Template) -> bool:
    """Whether a whole clause is held out: made from a held-out phrase, and not re-marked since."""
    return clause.held_out and clause.text.lower() not in _remarked()


def inventory() -> Iterator[tuple[str, str, str, Template]]:
    """Every whole clause there is: concept, voice, status, and the clause with its slots; held-out ones are marked."""
    return ((c, v, s, t._replace(held_out=_held_out(t))) for c, v, s, t in _every())


def _every() -> Iterator[tuple[str, str, str, Template]]:
    for voice in VOICES:
        for concept, bank in zip(concepts(), _banks(voice), strict=True):
            for clauses in bank.clauses.values():
                yield from ((concept.id, voice, "present", t) for t in clauses)
            for status in ("present", "uncertain"):
                for noun in (n for nouns in bank.nouns.values() for n in nouns):
                    for frame in _frames(voice, status):
                        yield concept.id, voice, status, noun._replace(text=_insert(frame, noun))
            yield from ((concept.id, voice, "absent", t) for t in bank.absent)
            for bare in bank.bare:
                for frame in _frames(voice, "absent"):
                    yield concept.id, voice, "absent", bare._replace(text=frame.replace("{bare}", bare.text))


def teacher_clauses() -> Iterator[tuple[int, str, str, str]]:
    """Every whole clause of the teachers, summaries included: concept, status, form (plain, one, both), text."""
    for concept, bank in enumerate(_banks("teacher")):
        for form, clauses in bank.clauses.items():
            yield from ((concept, "present", form, t.text) for t in clauses)
        for form, nouns in bank.nouns.items():
            for kind, status in (("present", "present"), ("summary", "present"), ("uncertain", "uncertain")):
                yield from ((concept, status, form, _insert(f, n)) for n in nouns for f in _frames("teacher", kind))
        yield from ((concept, "absent", "plain", t.text) for t in bank.absent)
        for bare in bank.bare:
            yield from (
                (concept, "absent", "plain", f.replace("{bare}", bare.text)) for f in _frames("teacher", "absent")
            )


def fill(choice: Choice, side: int) -> str:
    """The clause of a choice for a side code, without a full stop, with a capital letter."""
    text = choice.pattern
    if "{" in text:
        word = SIDE_CODES[side] or ""
        if "{place" in text:
            place = _places(choice.zone, side == BOTH)[choice.place].replace("{side}", word)
            text = text.replace("{places}", place).replace("{place}", place)
        text = text.replace("{side}", word).replace("{sev}", choice.degree).replace("{cm}", choice.cm)
    return text[0].upper() + text[1:]


def wrong_letters(rng: Random, text: str, rate: float) -> str:
    """With probability `rate`, one word abbreviated or misspelled (two neighbouring letters inside it swapped)."""
    if rate <= 0.0 or rng.random() >= rate:
        return text
    short = [(long, abbreviated) for long, abbreviated in phrases()["abbreviations"].items() if long in text]
    if short and rng.random() < 0.5:
        long, abbreviated = _pick(rng, tuple(short))
        return text.replace(long, abbreviated, 1)
    words = list(re.finditer(r"[a-z]{6,}", text))
    if not words:
        return text
    word = _pick(rng, tuple(words))
    at = word.start() + 1 + int(rng.random() * (len(word.group()) - 3))
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
