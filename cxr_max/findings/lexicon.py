"""The lexicon file, read once and compiled into word tries."""

import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cxr_max.findings.model import SIDES, Concept

FILE = Path(__file__).with_name("lexicon.toml")
SOURCES = ("chexpert", "openi", "project")
"""What a list of phrases is keyed by; the head of the file says what each means."""

_PART = re.compile(r"\(([^)]*)\)(\?)?|(\S+)")
_KEEP = frozenset(
    {"this", "thus", "does", "always", "less", "across", "yours", "news", "pus", "bases", "lobes", "zones"}
)
# "bases", "lobes" and "zones" without a side mean both sides, so they stay apart from their singular.

Trie = dict[str, Any]
"""word -> subtrie; the key "" holds the roles of the phrase that ends here."""


class Role(NamedTuple):
    """What a phrase does: its kind (finding, subject, state, neg, ...) and whatever goes with it."""

    kind: str
    value: Any


class State(NamedTuple):
    """A state word: the subjects it makes a finding with, the concept, and its status unless a cue changes it."""

    subjects: frozenset[str]
    concept: str
    status: str


class Lexicon(NamedTuple):
    """The compiled lexicon.

    Attributes:
        version: of the file.
        concepts: by id.
        main: findings, subjects, states, cues, sides and zones.
        generic: cues of definitions, advice, disclaimers, and of sentences about this image.
        hot: first words, in every surface form, of phrases that name a finding or a subject.
        normal: subject -> concepts that a normal state denies.
        unsided: concepts that take no side.
        refine: (concept, subject in its clause) -> the narrower concept that is meant.
    """

    version: str
    concepts: Mapping[str, Concept]
    main: Trie
    generic: Trie
    hot: frozenset[str]
    normal: Mapping[str, tuple[str, ...]]
    unsided: frozenset[str]
    refine: Mapping[tuple[str, str], str]


GENERIC_KINDS = ("generic", "advice", "disclaimer", "image")


@cache
def raw() -> Mapping[str, Any]:
    """The lexicon file as it stands."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


LEXICON_VERSION: str = raw()["version"]
"""Version of the phrases and rules; every row of a release's `findings` table carries it."""


def phrases(entry: Mapping[str, Any]) -> Iterator[str]:
    """The phrases of one entry of the file, of all sources."""
    for source in SOURCES:
        yield from entry.get(source, ())


@cache
def concepts() -> Mapping[str, Concept]:
    """All concepts by id, in the file's order."""
    found = {}
    for name, entry in raw()["concept"].items():
        sources = tuple(s for s in SOURCES if s in entry)
        found[name] = Concept(
            id=name,
            label=entry.get("label"),
            parent=entry.get("parent"),
            doc=entry["doc"],
            blocks=entry.get("blocks", True),
            phrases=tuple(phrases(entry)),
            sources=sources,
        )
    return found


@cache
def load() -> Lexicon:
    """Read and compile the lexicon; the result is shared and not to be changed."""
    data = raw()
    main = list(_main_phrases(data))
    generic = [(p, Role(k, p)) for k in GENERIC_KINDS for p in phrases(data["cues"][k])]
    words = {w for text, _ in (*main, *generic) for words in expand(text) for w in words}
    forms = _forms(words)
    surface: dict[str, list[str]] = {}
    for form, base in forms.items():
        surface.setdefault(base, []).append(form)
    named = [p[0] for text, role in main if role.kind in ("finding", "subject") for p in expand(text)]
    return Lexicon(
        version=data["version"],
        concepts=concepts(),
        main=_trie(_placed(main), forms, surface),
        generic=_trie(generic, forms, surface),
        hot=frozenset(form for word in named for form in surface[forms[word]]),
        normal={name: tuple(entry["normal"]) for name, entry in data["subject"].items()},
        unsided=frozenset(data["sides"]["none"]),
        refine={(r["concept"], r["subject"]): r["to"] for r in data["refine"]},
    )


def _main_phrases(data: Mapping[str, Any]) -> Iterator[tuple[str, Role]]:
    for concept in concepts().values():
        yield from ((p, Role("finding", concept.id)) for p in concept.phrases)
    for name, entry in data["subject"].items():
        yield from ((p, Role("subject", name)) for p in phrases(entry))
    for entry in data["state"]:
        state = State(frozenset(entry["subject"]), entry["concept"], entry.get("status", "present"))
        yield from ((p, Role("state", state)) for p in phrases(entry))
    for kind, entry in data["cues"].items():
        if kind not in GENERIC_KINDS:
            yield from ((p, Role(kind, p)) for p in phrases(entry))
    for side in ("left", "right", "both", "plural"):
        named = (side,) if side in SIDES else ("left", "right", *(["plural"] if side == "plural" else []))
        yield from ((p, Role("side", named)) for p in phrases(data["sides"][side]))
    for zone, entry in data["zones"].items():
        yield from ((p, Role("zone", zone)) for p in phrases(entry))


def _placed(found: Iterable[tuple[str, Role]]) -> Iterator[tuple[str, Role]]:
    """The phrases, and for those that swallow a side or zone ("bibasilar atelectasis") that role as well.

    Not so for a vetoed phrase: the "right" of "right atrium" is no side of what lies there.
    """
    every = list(found)
    places: dict[str, list[Role]] = {}
    for text, role in every:
        if role.kind in ("side", "zone"):
            for words in expand(text):
                if len(words) == 1:
                    places.setdefault(words[0], []).append(role)
    vetoed = {words for text, role in every if role.kind == "veto" for words in expand(text)}
    for text, role in every:
        yield text, role
        if role.kind in ("finding", "subject"):
            for words in expand(text):
                placed = len(words) > 1 and words not in vetoed
                inside = {id(p): p for word in words for p in places.get(word, ())} if placed else {}
                yield from ((" ".join(words), place) for place in inside.values())


def expand(phrase: str) -> Iterator[tuple[str, ...]]:
    """All word sequences a phrase stands for: "(a|b)? c" gives "a c", "b c" and "c"; "cs?" gives "cs" and "c".

    Groups do not nest.
    """
    options: list[list[tuple[str, ...]]] = []
    for group, optional, word in _PART.findall(phrase):
        if word:
            options.append([(word[:-1],), (word[:-2],)] if word.endswith("?") else [(word,)])
        else:
            options.append([tuple(o.split()) for o in group.split("|")] + ([()] if optional else []))
    for choice in itertools.product(*options):
        words = tuple(itertools.chain.from_iterable(choice))
        if words:
            yield words


def _forms(words: Iterable[str]) -> dict[str, str]:
    """Surface form -> canonical form: a plural whose singular the lexicon knows maps to it."""
    known = set(words)

    def singular(word: str) -> str:
        if len(word) < 4 or word in _KEEP or not word.endswith("s"):
            return word
        for cut, add in (("ies", "y"), ("es", ""), ("es", "is"), ("s", "")):
            if word.endswith(cut) and word[: -len(cut)] + add in known:
                return word[: -len(cut)] + add
        return word

    forms = {}
    for word in sorted(known):
        base = singular(word)
        forms[word] = base
        plural = base[:-1] + "ies" if base.endswith("y") else base + ("es" if base.endswith(("s", "x")) else "s")
        if len(plural) >= 4 and plural not in known and plural not in _KEEP:
            forms[plural] = base
        if base.endswith("is") and base[:-2] + "es" not in known:
            forms[base[:-2] + "es"] = base
    return forms


def _trie(found: Iterable[tuple[str, Role]], forms: Mapping[str, str], surface: Mapping[str, list[str]]) -> Trie:
    """The trie over surface words: all forms of a word lead to the same subtrie."""
    root: Trie = {}
    for text, role in found:
        for words in expand(text):
            node = root
            for word in words:
                forms_of = surface[forms[word]]
                below = node.setdefault(forms_of[0], {})
                for form in forms_of[1:]:
                    node[form] = below
                node = below
            roles = node.setdefault("", [])
            # A cue is known by the words it stands with, not by the pattern that lists them.
            mine = Role(role.kind, " ".join(forms[w] for w in words)) if role.value is text else role
            if mine not in roles:
                roles.append(mine)
    return root
