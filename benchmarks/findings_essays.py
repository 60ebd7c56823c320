"""Findings in LLM-style essays: the rule extractor against the truth of simulated trajectories, Markdown and all.

Clauses the extractor's author could read (seen) and clauses held out from them are scored apart. A clause counts as
found when a finding of its label (of its concept, where it has no label) lies inside it; status and side are judged
among those. Spurious are findings outside every assertion, in generic sentences above all.
"""

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import common
from cxr_max import findings, synth

DRAWS, SEED = 2000, 20240229
KEYS = ("instance_id", "teacher", "generation")
KINDS = ("n", "found", "status", "n_sided", "side")


def main(tiny: bool) -> None:
    """Score 400 (tiny: 5) instances with all seven simulated teachers."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "world"
        synth.write_world(synth.WorldConfig(instances=5 if tiny else 400, seed=11, images=False), out)
        truth = pl.read_parquet(out / "truth" / "assertions.parquet").filter(pl.col("start").is_not_null())
        texts = _texts(out / "raw")
    figures: dict[str, Any] = {"texts": len(texts), "lexicon_version": findings.LEXICON_VERSION}
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in truth.iter_rows(named=True):
        rows[tuple(row[k] for k in KEYS)].append(row)
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(len(KINDS)))
    templates: dict[str, list[bool]] = defaultdict(list)
    total = spurious = 0
    for key, text in texts.items():
        found = findings.extract(text).findings
        total += len(found)
        spurious += sum(not any(f.start < r["end"] and f.end > r["start"] for r in rows[key]) for f in found)
        for row in rows[key]:
            score = _score(row, found)
            counts["held_out" if row["held_out"] else "seen", key[0]] += score
            if row["held_out"]:
                templates[row["template"]].append(bool(score[1]))
    for kind in ("seen", "held_out"):
        figures[kind] = _rates(np.array([c for (k, _), c in sorted(counts.items()) if k == kind]))
    hit = sum(any(v) for v in templates.values())
    figures["held_out_templates"] = {"n": len(templates), "found_at_least_once": hit}
    figures["findings"], figures["spurious"] = total, spurious
    common.write("findings_essays", figures, tiny=tiny)


def _texts(folder: Path) -> dict[tuple[Any, ...], str]:
    found = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[Path(row["image"]).stem, file.stem, row.get("generation", 0)] = row["response"]
    return found


def _score(row: dict[str, Any], found: tuple[findings.Finding, ...]) -> np.ndarray:
    inside = [f for f in found if f.start < row["end"] and f.end > row["start"]]
    if row["label"] == "No Finding":
        same = [f for f in inside if f.concept == "acute_disease"]
        return np.array([1, bool(same), bool(same), 0, 0], dtype=float)
    same = [f for f in inside if (f.label == row["label"] if row["label"] else f.concept == row["concept"])]
    sided = bool(same) and row["status"] != "absent"
    return np.array(
        [1, bool(same), any(f.status == row["status"] for f in same), sided,
         sided and row["side"] in {f.side for f in same}], dtype=float,
    )  # fmt: skip


def _rates(per_instance: np.ndarray) -> dict[str, Any]:
    """Rates with intervals over instances: found of all, right status and right side of those found."""
    rng = np.random.default_rng(SEED)
    n = len(per_instance)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), DRAWS)])
    sums = weights @ per_instance
    rates = {"found": (1, 0), "status_of_found": (2, 1), "side_of_found": (4, 3)}
    result: dict[str, Any] = {"assertions": int(sums[0, 0])}
    for name, (part, whole) in rates.items():
        values = sums[:, part] / np.maximum(sums[:, whole], 1)
        low, high = np.quantile(values[1:], (0.025, 0.975))
        result[name] = [round(float(v), 4) for v in (values[0], low, high)]
    return result


if __name__ == "__main__":
    common.run(main, __doc__)
