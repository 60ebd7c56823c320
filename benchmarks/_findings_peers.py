"""Our lexicon for other packages, and their mentions on the same texts."""

import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import peer_env
from cxr_max.findings import lexicon, words
from cxr_max.findings.lexicon import expand, load, raw
from cxr_max.findings.steps import sentences

SCRIPT = Path(__file__).with_name("_findings_peer.py")
PEERS = ("negspacy", "medspacy")
Mentions = list[list[tuple[str, str]]]


def phrases() -> dict[str, list[str]]:
    """All phrases of our lexicon by concept, spelled out, so that any phrase matcher can use them.

    Phrases come in singular and plural; a subject and its state ("heart", "enlarged") become "enlarged heart", "heart
    enlarged", "heart is enlarged" and the like.
    """
    found: dict[str, dict[str, None]] = {}
    for concept in load().concepts.values():
        listed = found.setdefault(concept.id, {})
        for text in concept.phrases:
            for way in expand(text):
                phrase = " ".join(way)
                listed[phrase] = listed[_plural(phrase)] = None
    data = raw()
    for state in data["state"]:
        for name in state["subject"]:
            subjects = {" ".join(w) for text in lexicon.phrases(data["subject"][name]) for w in expand(text)}
            states = {" ".join(w) for text in lexicon.phrases(state) for w in expand(text)}
            for subject, word in product(sorted(subjects), sorted(states)):
                for made in (
                    f"{word} {subject}",
                    f"{subject} {word}",
                    f"{subject} is {word}",
                    f"{word} of the {subject}",
                ):
                    found[state["concept"]][made] = None
    return {concept: list(listed) for concept, listed in found.items()}


def _plural(phrase: str) -> str:
    if phrase.endswith("y"):
        return phrase[:-1] + "ies"
    if phrase.endswith("is"):
        return phrase[:-2] + "es"
    return phrase + ("es" if phrase.endswith(("s", "x")) else "s")


def run(name: str, texts: list[str], repeats: int = 1) -> dict[str, Any] | None:
    """Mentions and processor seconds of a peer in its environment; None where that is missing."""
    python = peer_env.python_of(name)
    if python is None:
        return None
    asked = json.dumps({"texts": texts, "phrases": phrases(), "repeats": repeats})
    done = subprocess.run([str(python), str(SCRIPT), name], input=asked, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def keyword(texts: list[str]) -> Mentions:
    """The plain baseline: our phrases, denied when a negation stands before them in the sentence."""
    found: Mentions = []
    for text in texts:
        of_text: list[tuple[str, str]] = []
        for sentence in sentences(text):
            denied = False
            for event in words.events(sentence.words):
                denied = denied or event.kind == "neg"
                if event.kind == "finding":
                    of_text.append((event.value, "absent" if denied else "present"))
        found.append(of_text)
    return found
