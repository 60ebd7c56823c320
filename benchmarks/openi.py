"""Labels and sides of our extractor on Open-I's human codes, beside negspacy, medspacy and a keyword baseline.

    python -m benchmarks.openi                      the open half
    python -m benchmarks.openi --locked "REASON"    the locked half; every look is recorded in its result file

All extractors get the same lexicon, texts (findings and impression) and aggregation. Headline: labels with 20 or more
positives, uncertain counted as not holding (`neg`: chosen on the open half, the coders mostly left such findings out).
"""

import argparse
import datetime
import json
from collections import defaultdict
from typing import Any

from benchmarks import common
from benchmarks._findings_peers import PEERS, Mentions, keyword, run
from benchmarks._openi_corpus import archive, half
from benchmarks._openi_gold import gold, is_coded
from benchmarks._openi_score import Scorer, interval, labels_of, sides
from cxr_max import findings

LOOKS = common.RESULTS / "openi_locked.json"


def main(tiny: bool) -> None:
    """Score the open half, or 60 of its reports without peers at tiny size."""
    if archive() is None:
        print("skipped: pip install --no-deps torchxrayvision==1.5.7")
        return
    common.write("openi", score("open", limit=60 if tiny else None), tiny=tiny)


def locked(reason: str) -> None:
    """Score the locked half and record the look."""
    earlier = json.loads(LOOKS.read_text())["figures"]["looks"] if LOOKS.is_file() else []
    figures = score("locked", limit=None)
    rows = figures["unc=neg"]["ours"]
    look = {"date": datetime.date.today().isoformat(), "reason": reason, "micro": rows["micro"], "macro": rows["macro"]}
    common.write("openi_locked", {"looks": [*earlier, look], **figures}, tiny=False)


def score(which: str, limit: int | None) -> dict[str, Any]:
    """All figures of one half."""
    reports = [r for r in half(which) if is_coded(r)][:limit]
    truth = [gold(r) for r in reports]
    texts = [r.text for r in reports]
    extractions = [findings.extract(t, role="reference") for t in texts]
    systems: dict[str, Mentions] = {
        "ours": [[(f.concept, f.status) for f in e.findings] for e in extractions],
        "keyword": keyword(texts),
    }
    versions, missing = {}, []
    for name in PEERS if limit is None else ():
        result = run(name, texts)
        if result is None:
            missing.append(name)
            continue
        systems[name] = result["mentions"]
        versions[name] = result["versions"]
    scorer = Scorer(reports, truth)
    figures: dict[str, Any] = {
        "half": which, "reports": len(reports), "clusters": scorer.n_clusters, "scored_labels": scorer.names,
        "lexicon_version": findings.LEXICON_VERSION, "peer_versions": versions, "peers_missing": missing,
    }  # fmt: skip
    for unc in ("neg", "pos"):
        figures[f"unc={unc}"] = _compare(scorer, systems, unc)
    figures["sides"] = sides([_sides(e) for e in extractions], truth)
    return figures


def _compare(scorer: Scorer, systems: dict[str, Mentions], unc: str) -> dict[str, Any]:
    """Scores of each system, and ours minus each other one on the same draws."""
    counts = {name: scorer.counts(labels_of(mentions, unc)) for name, mentions in systems.items()}
    micro = {name: scorer.micro(c) for name, c in counts.items()}
    macro = {name: scorer.macro(c) for name, c in counts.items()}
    result: dict[str, Any] = {}
    for name in systems:
        result[name] = {"micro": interval(micro[name]), "macro": interval(macro[name])}
        if name != "ours":
            result[name]["ours_minus_it"] = {
                "micro": interval(micro["ours"] - micro[name]), "macro": interval(macro["ours"] - macro[name]),
            }  # fmt: skip
        result[name]["labels"] = scorer.table(counts[name])
    return result


def _sides(extraction: findings.Extraction) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for f in extraction.findings:
        if f.label and f.status == "present":
            found[f.label].update({f.side} if f.side else ())
    return {name: frozenset(named) for name, named in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="60 reports, no peers: shows that it runs")
    parser.add_argument("--locked", metavar="REASON", help="score the locked half; the look is recorded")
    args = parser.parse_args()
    if args.locked:
        locked(args.locked)
    else:
        main(args.tiny)
