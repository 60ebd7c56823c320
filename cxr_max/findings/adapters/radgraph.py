"""RadGraph's JSON output: entities with status, and relations between them, mapped to our concepts by the lexicon.

One object per report: `text` (its words separated by spaces), `entities` (id -> `tokens`, `label`, `start_ix`,
`end_ix` inclusive, `relations` as [type, id]). Labels as in RadGraph 1.0 (`OBS-DP`, `OBS-U`, `OBS-DA`, `ANAT-DP`) or
RadGraph-XL (`Observation::definitely present`, ...).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_max.errors import DataError, MissingFileError
from cxr_max.findings import place, scope, words
from cxr_max.findings.adapters._labels import digest, extraction
from cxr_max.findings.lexicon import load
from cxr_max.findings.model import Extraction, Finding, Role, Status

STATUS: dict[str, Status] = {
    "obs-dp": "present", "obs-u": "uncertain", "obs-da": "absent",
    "observation::definitely present": "present", "observation::uncertain": "uncertain",
    "observation::definitely absent": "absent",
}  # fmt: skip


class RadGraph:
    """Looks a text up among annotated ones; white space is not compared.

    Attributes:
        version: `1` or `xl`, by the labels used.
        config_hash: of the file's bytes and the lexicon version.
    """

    name = "radgraph"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"no RadGraph file {path}")
        data = path.read_bytes()
        try:
            graphs = json.loads(data)
            self._graphs = {_key(g["text"]): g for g in graphs.values()}
            kinds = {e["label"] for g in graphs.values() for e in g["entities"].values()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DataError(f"{path.name} is not RadGraph output: {{report: {{text, entities}}}}") from None
        self.version = "xl" if any("::" in k for k in kinds) else "1"
        self.config_hash = digest(data, load().version)

    def extract(self, text: str, *, role: Role = "candidate") -> Extraction:
        """The graph's observations as findings; those the lexicon has no concept for are left out.

        Raises:
            DataError: the text is not among the annotated ones, or its graph is broken.
        """
        graph = self._graphs.get(_key(text))
        if graph is None:
            raise DataError(f"a text of {len(text)} characters is not among the {len(self._graphs)} annotated ones")
        try:
            found = list(_findings(text, graph))
        except (KeyError, IndexError, TypeError, ValueError):
            raise DataError("a RadGraph annotation refers to words or entities that are not there") from None
        return extraction(text, found, role)


def _key(text: str) -> str:
    return "".join(text.split())


def _findings(text: str, graph: Mapping[str, Any]) -> Iterator[Finding]:
    entities = graph["entities"]
    spans = _spans(text, graph["text"])
    for name, entity in entities.items():
        status = STATUS.get(entity["label"].lower())
        if status is None:
            continue
        mention = _mention(_related(name, entities))
        if mention is None:
            continue
        concept = load().concepts[mention.concept]
        start, end = spans[int(entity["start_ix"])][0], spans[int(entity["end_ix"])][1]
        on = place.sides(mention) if concept.id not in load().unsided else ()
        where = place.zone(mention)
        for side in on or (None,):
            yield Finding(concept.id, concept.label, status, side, where, start, end, f"radgraph/{entity['label']}")


def _related(name: str, entities: Mapping[str, Any]) -> Sequence[str]:
    """Words of an observation, what modifies it, and where it is located, in text order."""
    entity = entities[name]
    near = {name}
    near |= {other for kind, other in entity["relations"] if kind in ("located_at", "modify")}
    for _ in range(2):
        near |= {n for n, e in entities.items() for kind, other in e["relations"] if kind == "modify" and other in near}
    ordered = sorted(near, key=lambda n: int(entities[n]["start_ix"]))
    return words.tokens(joined := " ".join(str(entities[n]["tokens"]) for n in ordered), 0, len(joined))


def _mention(tokens: Sequence[str]) -> scope.Mention | None:
    found = [m for m in scope.mentions(words.events(tokens)) if not m.rule.startswith("normal")]
    return found[0] if found else None


def _spans(text: str, spaced: str) -> list[tuple[int, int]]:
    """Characters, in the text as given, of the words of RadGraph's own spacing of it."""
    where = [i for i, c in enumerate(text) if not c.isspace()]
    found = []
    at = 0
    for word in spaced.split():
        found.append((where[at], where[at + len(word) - 1] + 1))
        at += len(word)
    return found


def build(path: str | Path) -> RadGraph:
    """Read a file of RadGraph annotations.

    Raises:
        MissingFileError: it is not there.
        DataError: not JSON of that form.
    """
    return RadGraph(Path(path))
