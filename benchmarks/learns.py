"""Does the tiny student learn from images? Balanced accuracy per finding on patients it never saw, with intervals.

    python -m benchmarks.learns [--tiny]

A synthetic world is written, its release built, and `tiny_cpu` trained on the official train split. After each of its
stages (`sight`, `sft`, `apo`) the student answers about every image of the test patients, and its printed diagnoses are
compared with theirs; an answer that prints none says no to every finding, and is counted. Answers are drawn, not the
likeliest: the likeliest of a weak student is the same for every image. Chance is 0.5 for every finding whatever its
frequency. Intervals are percentiles over patients drawn with replacement. Settings were chosen on the validate split
(`--split validate`).
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks import common
from cxr_max import align, data, mimic, synth
from cxr_max.align.generation import Decoding, generate
from cxr_max.align.templates import ANSWER
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import DataError
from cxr_max.recipes import tiny_cpu

SEED = 0
WORLD = {"subjects": 600, "size": 112, "seed": SEED, "subtlety": 0.0, "contrast": 1.5, "length": 0.1}
"""Plain findings, short texts: what is shown is that the way from pixels to words trains, not a skill."""
PASSES = {"epochs": 1.0, "apo_epochs": 0.25}
"""Over the trajectories; `sight` keeps the recipe's. No stage takes more than 5 minutes."""
LONGEST = {"name": 40, "diagnose": 300}
"""Tokens of an answer, by the template of the stage."""
LEAST = 10
"""Positives a finding needs to be reported."""


def main() -> None:
    """Train, ask, grade."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="shows that it runs; the figures mean nothing")
    parser.add_argument("--split", default="test", help="validate while settings are chosen")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        common.write("learns", measure(Path(folder), split=args.split, tiny=args.tiny), tiny=args.tiny)


def measure(folder: Path, *, split: str = "test", tiny: bool = False, **options: Any) -> dict[str, Any]:
    """Everything, below a folder; options go to the recipe. Figures of `sight`, and `after` it those of sft and apo."""
    synth.write_world(synth.WorldConfig(**(WORLD | ({"subjects": 30} if tiny else {}))), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release")
    options = PASSES | ({"max_steps": 3, "limit": 20} if tiny else {}) | options
    root = (folder / "world" / "mimic",)
    stages = tiny_cpu.build(release=folder / "release", out=folder / "run", mimic_root=root, seed=SEED, **options)
    torch.manual_seed(SEED)
    figures: dict[str, Any] = {}
    for stage in stages:
        if not isinstance(stage, align.TrainConfig):
            align.consensus.run(stage)
            continue
        begun = time.perf_counter(), time.process_time()
        result = align.train(stage)
        took = time.perf_counter() - begun[0], time.process_time() - begun[1]
        longest = LONGEST["name" if stage.template == "name" else "diagnose"]
        figures[stage.out.name] = {
            "training": {"wall_s": round(took[0], 1), "cpu_s": round(took[1], 1), "steps": result.steps},
            "instances": len(result.training_ids),
            **_course(align.watch.read_log(stage.out / "log.jsonl")),
            **grade(result.folder, folder / "release", root, split, limit=12 if tiny else None, longest=longest),
        }
    return {"world": WORLD, "options": options, "split": split, **figures.pop("sight"), "after": figures}


def _course(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means of a log's first and last ten lines, of what it holds."""
    found = {}
    for name in ("loss", "rewards/accuracies", "h_per_token/chosen"):
        for place, part in (("first_10", rows[:10]), ("last_10", rows[-10:])):
            values = [r[name] for r in part if name in r]
            found |= {f"{name}_{place}": round(float(np.mean(values)), 4)} if values else {}
    return found


def grade(
    folder: Path,
    release: Path,
    root: tuple[Path, ...],
    split: str,
    *,
    limit: int | None = None,
    draws: int = 1000,
    longest: int = 40,
) -> dict[str, Any]:
    """Balanced accuracy of the printed diagnoses against the release's, per finding and on average over findings."""
    student = align.load_student(folder)
    joined = mimic.join(data.open_release(release), list(root))
    images = joined.matched.instances.select("instance_id", pl.col("images").list.first().alias("image"))
    rows = joined.scan("instances").filter(split=split).collect().join(images, on="instance_id").sort("instance_id")
    rows = rows.head(limit) if limit else rows
    begun = time.perf_counter()
    answers = ask(student, rows["image"].to_list(), longest=longest)
    took = time.perf_counter() - begun
    said = [set(re.split(r", ?", a.rsplit(ANSWER, 1)[1].strip(". \n"))) if ANSWER in a else set() for a in answers]
    true = [set(d) for d in rows["diseases"].to_list()]
    known = sorted(set().union(*true))
    truth = np.array([[f in t for f in known] for t in true])
    guess = np.array([[f in s for f in known] for s in said])
    enough = [k for k in range(len(known)) if min(truth[:, k].sum(), (~truth[:, k]).sum()) >= (1 if limit else LEAST)]
    patients, place = np.unique(rows["subject_id"].to_numpy(), return_inverse=True)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), size=draws)
    weights = np.concatenate([np.ones((1, len(rows))), drawn[:, place]])
    scores = balanced(truth[:, enough], guess[:, enough], weights)
    mean = np.nanmean(scores, axis=1)
    return {
        "asked": len(rows),
        "patients": len(patients),
        "answered": sum(ANSWER in a for a in answers),
        "asking_s": round(took, 1),
        "mean": _interval(mean),
        "findings": {
            known[k]: _interval(scores[:, i]) | {"positives": int(truth[:, k].sum())} for i, k in enumerate(enough)
        },
    }


def balanced(truth: Any, guess: Any, weights: Any) -> Any:
    """Mean of sensitivity and specificity, [draws, findings], for weights [draws, rows]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = (weights @ (truth & guess)) / (weights @ truth)
        specificity = (weights @ (~truth & ~guess)) / (weights @ ~truth)
    return (sensitivity + specificity) / 2


def _interval(draws: Any) -> dict[str, float]:
    low, high = np.nanpercentile(draws[1:], [2.5, 97.5])
    return {"value": round(float(draws[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def ask(student: Any, images: list[str], *, batch: int = 64, longest: int = 40) -> list[str]:
    """One drawn answer an image, by a seed of its own."""
    answers = []
    for start in range(0, len(images), batch):
        asked = [
            PreferenceGroup("", ("No Finding",), ("-",), ("",), image=image) for image in images[start : start + batch]
        ]
        seeds = range(start, start + len(asked))
        for made in generate(student.model, student.renderer, asked, Decoding(longest, temperature=1.0), seeds):
            if isinstance(made, DataError):
                raise made
            answers.append(made.text)
    return answers


if __name__ == "__main__":
    main()
