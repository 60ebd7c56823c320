"""What the human MeSH codes of an Open-I report say, in our labels, concepts and sides."""

import tomllib
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

from benchmarks._openi_corpus import MESH_FILE, Report

DEVICES, NO_FINDING = "Support Devices", "No Finding"


class Gold(NamedTuple):
    """The coded truth of one report.

    Attributes:
        labels: those of the 14 that hold, No Finding included.
        concepts: lexicon concepts that hold.
        sides: label -> sides its codes name; labels without a side in any code are left out.
    """

    labels: frozenset[str]
    concepts: frozenset[str]
    sides: dict[str, frozenset[str]]


@cache
def mapping() -> dict[str, Any]:
    """The mapping file."""
    return tomllib.loads(MESH_FILE.read_text())


def is_coded(report: Report) -> bool:
    """Whether a report has text and was coded at all; others are left out of every score."""
    return bool(report.text) and not {t.strip() for t in report.mesh} & set(mapping()["uncoded"])


def gold(report: Report) -> Gold:
    """The coded truth of a report."""
    labels: set[str] = set()
    concepts: set[str] = set()
    sides: dict[str, set[str]] = defaultdict(set)
    finding = False
    for term in report.mesh:
        head, *qualifiers = [part.strip() for part in term.split("/")]
        of_term = _labels(head, frozenset(qualifiers), concepts)
        labels |= of_term
        finding |= head not in mapping()["silent"] and of_term != {DEVICES}
        for qualifier in qualifiers:
            for name in of_term:
                sides[name].update(mapping()["sides"].get(qualifier, ()))
    if not finding:
        labels.add(NO_FINDING)
    return Gold(frozenset(labels), frozenset(concepts), {k: frozenset(v) for k, v in sides.items() if v})


def _labels(head: str, qualifiers: frozenset[str], concepts: set[str]) -> set[str]:
    found: set[str] = set()
    for rule in mapping()["rule"]:
        applies = head in rule["head"] and not qualifiers & set(rule.get("without", ()))
        if applies and ("any" not in rule or qualifiers & set(rule["any"])):
            found.update(rule["label"])
            concepts.add(rule["concept"])
    return found
