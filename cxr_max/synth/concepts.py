"""The concepts of the synthetic world: the findings of the 14 labels, finer where a label is a family, and mere signs.

Read from `phrases.toml`, which also holds every surface phrase.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

SIDE_CODES: tuple[str | None, ...] = (None, "left", "right", "both")
"""Codes of a side in arrays: 0 unsided, 1 left, 2 right, 3 both."""

NONE, LEFT, RIGHT, BOTH = range(4)
ZONES: tuple[str, ...] = ("apical", "upper", "mid", "lower", "perihilar")
"""Codes of a zone in arrays; -1 where a finding has none."""


@dataclass(frozen=True)
class Concept:
    """One thing that can be stated of a chest radiograph.

    Attributes:
        id: name in the truth tables.
        label: one of the 14 labels, or None for a sign that no label stands for.
        sides: probabilities of left, right, both, unsided when present.
        zones: probability of each zone; empty when the concept has none.
        degrees: words for severity 1, 2 and 3.
        signs: concepts that a claim of this one suggests.
    """

    id: str
    label: str | None
    sides: tuple[float, ...]
    zones: dict[str, float]
    degrees: tuple[str, str, str]
    signs: tuple[str, ...]


@cache
def phrases() -> dict[str, Any]:
    """The parsed `phrases.toml`."""
    return tomllib.loads(files("cxr_max.synth").joinpath("phrases.toml").read_text(encoding="utf-8"))


@cache
def concepts() -> tuple[Concept, ...]:
    """All concepts, in the order of the file; arrays over concepts use this order."""
    return tuple(
        Concept(
            name,
            row.get("label"),
            tuple(row["sides"]),
            row.get("zones", {}),
            tuple(row["degrees"]),
            tuple(row.get("signs", ())),
        )
        for name, row in phrases()["concept"].items()
    )


@cache
def index() -> dict[str, int]:
    """Position of each concept in `concepts()`."""
    return {c.id: i for i, c in enumerate(concepts())}


@cache
def of_label(label: str) -> tuple[int, ...]:
    """Positions of the concepts of one label."""
    return tuple(i for i, c in enumerate(concepts()) if c.label == label)


def tuple_sides(code: int) -> tuple[str | None, ...]:
    """The sides a side code stands for: a bilateral finding is two."""
    return ("left", "right") if code == BOTH else (SIDE_CODES[code],)
