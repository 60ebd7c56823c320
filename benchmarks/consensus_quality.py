"""Is the consensus truer than its teachers? `vote` against the simulator's truth, as teachers' errors come to agree.

Worlds with error correlation 0, .25, .5, .75; per world the consensus, every teacher, and a teacher drawn at random for
each image. The grade reads no text: a clause of the consensus was copied from a place in a trajectory, and the truth
knows what was asserted at that place and whether it was right. So an error of the rule extractor that `vote` uses costs
the consensus (a clause copied from where nothing was asserted counts as wrong) and cannot help it.

- precision: assertions that are right, of all made (affirmed ones alone beside it: a denial is easily right);
- recall: findings present in the image that are affirmed rightly, of all that are present; an image without a consensus
  names none.

Both pooled over images, with 95 % intervals over patients (bootstrap, paired for differences). The default quorum is
more than half; the other values of k show what it trades.
"""

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import common
from cxr_max import findings, synth
from cxr_max.align.consensus import Answer, Panel, vote

CORRELATIONS = (0.0, 0.25, 0.5, 0.75)
QUORUMS = (None, 2, 3, 5, 6)
SEED, DRAWS = 20260131, 2000
COUNTS = ("right", "made", "right_affirmed", "affirmed", "found", "present")
NORMAL = "No Finding"
Truth = dict[tuple[str, str], list[dict[str, Any]]]


def main(tiny: bool) -> None:
    """400 images a world (tiny: 8 and two worlds)."""
    began = time.monotonic()
    figures: dict[str, Any] = {"lexicon_version": findings.LEXICON_VERSION, "worlds": {}}
    for correlation in CORRELATIONS[1::2] if tiny else CORRELATIONS:
        figures["worlds"][f"correlation_{correlation:g}"] = _world(correlation, 8 if tiny else 400)
    figures["seconds"] = round(time.monotonic() - began, 1)
    common.write("consensus_quality", figures, tiny=tiny)


def _world(correlation: float, instances: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "world"
        config = synth.WorldConfig(instances=instances, seed=SEED, images=False, error_correlation=correlation)
        synth.write_world(config, out)
        panels, patient = _panels(out / "raw")
        truth, present = _truth(out / "truth")
    sources = {t: [_of_teacher(truth[p.instance_id, t]) for p in panels] for t in panels[0].teachers}
    counts = {t: [_count(a, present[p.instance_id]) for a, p in zip(said, panels, strict=True)]
              for t, said in sources.items()}  # fmt: skip
    counts["random teacher"] = np.mean([counts[t] for t in sources], axis=0).tolist()
    rows: dict[str, Any] = {}
    voted: dict[str, int] = {}
    for k in QUORUMS:
        name = "vote" if k is None else f"vote, k = {k}"
        made = [vote.choose(p, vote.Hyper(k=k)) for p in panels]
        voted[name] = sum(map(bool, made))
        counts[name] = [
            _count(_of_clauses(truth, p, c), present[p.instance_id]) for p, c in zip(panels, made, strict=True)
        ]
    draws = _draws(patient)
    for name, values in counts.items():
        rows[name] = _rates(np.array(values, dtype=float), draws)
        rows[name] |= {"images": voted.get(name, len(panels)), "assertions": int(np.sum(values, axis=0)[1])}
    base = np.array(counts["random teacher"])
    gain = {n: _differences(np.array(counts[n]), base, draws) for n in voted}
    best = max(sources, key=lambda t: rows[t]["precision"][0])
    return {
        "error_correlation": correlation,
        "images": len(panels),
        "patients": len(set(patient)),
        "rates": rows,
        "difference_to_random_teacher": gain,
        "difference_to_most_precise_teacher": {
            "teacher": best, **_differences(np.array(counts["vote"]), np.array(counts[best]), draws),
        },
    }  # fmt: skip


def _panels(folder: Path) -> tuple[list[Panel], list[str]]:
    answers: dict[str, list[Answer]] = defaultdict(list)
    about: dict[str, tuple[str, str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            image = Path(row["image"])
            answers[image.stem].append(Answer(file.stem, 0, row["response"]))
            about[image.stem] = row["prompt"], image.parts[-3]
    names = sorted(answers)
    # The order of diagnoses changes the order of clauses, which no count here reads.
    return [Panel(i, about[i][0], (), tuple(answers[i])) for i in names], [about[i][1] for i in names]


def _truth(folder: Path) -> tuple[Truth, dict[str, frozenset[str]]]:
    """Assertions by trajectory, and the concepts present in each image."""
    told: Truth = defaultdict(list)
    for row in pl.read_parquet(folder / "assertions.parquet").iter_rows(named=True):
        told[row["instance_id"], row["teacher"]].append(row)
    of_study: dict[int, set[str]] = defaultdict(set)
    for row in pl.read_parquet(folder / "states.parquet").iter_rows(named=True):
        if row["label"] != NORMAL:
            of_study[row["study_id"]].add(row["concept"])
    study = dict(pl.read_parquet(folder / "trajectories.parquet").select("instance_id", "study_id").iter_rows())
    return told, {i: frozenset(of_study[s]) for i, s in study.items()}


def _of_teacher(rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    return [r for r in rows if r["start"] is not None]


def _of_clauses(truth: Truth, panel: Panel, clauses: list[vote.Clause]) -> list[dict[str, Any] | None]:
    """What was asserted where each clause was copied from; None for a clause from where nothing was."""
    out: list[dict[str, Any] | None] = []
    for clause in clauses:
        told = _of_teacher(truth[panel.instance_id, clause.teacher])
        inside = [r for r in told if r and r["start"] < clause.end and r["end"] > clause.start]
        out += inside or [None]
    return out


def _count(said: list[dict[str, Any] | None], present: frozenset[str]) -> list[float]:
    right = [r for r in said if r and r["outcome"] == "right"]
    affirmed = [r for r in said if r is None or r["status"] != "absent"]
    good = [r for r in right if r["status"] != "absent"]
    found = {r["concept"] for r in good} & present
    return [len(right), len(said), len(good), len(affirmed), len(found), len(present)]


def _draws(patient: list[str]) -> NDArray[np.float64]:
    """Weights of images in each bootstrap draw of patients; the first row is the data itself."""
    names, index = np.unique(patient, return_inverse=True)
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    return np.vstack([np.ones(len(names)), weights])[:, index]


def _values(counts: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    sums = dict(zip(COUNTS, (draws @ counts).T, strict=True))
    pairs = {
        "precision": ("right", "made"),
        "precision_affirmed": ("right_affirmed", "affirmed"),
        "recall": ("found", "present"),
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: sums[a] / sums[b] for name, (a, b) in pairs.items()}


def _rates(counts: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, Any]:
    return {name: _interval(v) for name, v in _values(counts, draws).items()}


def _differences(one: NDArray[np.float64], other: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, Any]:
    theirs = _values(other, draws)
    return {name: _interval(v - theirs[name]) for name, v in _values(one, draws).items()}


def _interval(values: NDArray[np.float64]) -> list[float | None]:
    """Value, lower and upper end; None where undefined."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975)) if not np.isnan(values[1:]).all() else (np.nan, np.nan)
    return [None if np.isnan(v) else round(float(v), 4) for v in (values[0], low, high)]


if __name__ == "__main__":
    common.run(main, __doc__)
