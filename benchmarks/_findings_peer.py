"""Finding extraction by another package, in its own environment: JSON on standard input, JSON on standard output.

In: {"texts": [...], "phrases": {concept: [phrase, ...]}, "repeats": n}. Out: {"mentions": [[[concept, status], ...] per
text], "seconds": [...], "versions": {...}}. Runs with nothing of ours installed: `python _findings_peer.py negspacy`.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from typing import Any

os.environ["LOGURU_LEVEL"] = "WARNING"


def negspacy(phrases: dict[str, list[str]]) -> Any:
    """A blank English pipe with sentences, our phrases and NegEx on its clinical terms."""
    spacy = importlib.import_module("spacy")
    importlib.import_module("negspacy.negation")
    terms = importlib.import_module("negspacy.termsets").termset("en_clinical").get_patterns()
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    ruler = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    ruler.add_patterns([{"label": c, "pattern": p} for c, listed in phrases.items() for p in listed])
    nlp.add_pipe("negex", config={"neg_termset": terms, "ent_types": list(phrases)})
    return lambda text: [(e.label_, "absent" if e._.negex else "present") for e in nlp(text).ents]


def medspacy(phrases: dict[str, list[str]]) -> Any:
    """The full default pipe of medspacy (tokenizer, PyRuSH, target matcher, ConText) with our phrases."""
    package = importlib.import_module("medspacy")
    rule = importlib.import_module("medspacy.target_matcher").TargetRule
    nlp = package.load()
    matcher = nlp.get_pipe("medspacy_target_matcher")
    matcher.add([rule(p, c) for c, listed in phrases.items() for p in listed])

    def mentions(text: str) -> list[tuple[str, str]]:
        found = []
        for e in nlp(text).ents:
            if e._.is_historical or e._.is_hypothetical or e._.is_family:
                continue
            status = "absent" if e._.is_negated else "uncertain" if e._.is_uncertain else "present"
            found.append((e.label_, status))
        return found

    return mentions


def main() -> None:
    """Read texts and phrases, write mentions and the seconds of each pass."""
    name = sys.argv[1]
    asked = json.load(sys.stdin)
    extract = {"negspacy": negspacy, "medspacy": medspacy}[name](asked["phrases"])
    extract("No effusion.")
    mentions: list[Any] = []
    seconds = []
    for _ in range(asked["repeats"]):
        begun = time.process_time()
        mentions = [extract(text) for text in asked["texts"]]
        seconds.append(time.process_time() - begun)
    versions = {p: importlib.metadata.version(p) for p in (name, "spacy")}
    json.dump({"mentions": mentions, "seconds": seconds, "versions": versions}, sys.stdout)


if __name__ == "__main__":
    main()
