"""Does a student pass its teachers' drift on, and does a consensus take it away? Base, SFT and APO side by side.

    python -m benchmarks.teacher_drift_students [--tiny] [--out DIR]

A synthetic world is written, its release built, and the recipe `tiny_cpu` run on it, shortened: `base` has learned to
name diagnoses and nothing else (it stands for a pretrained model), `sft` all teachers' trajectories, `apo` comes after
it with the consensus by vote as the positive. Each answers the task `teacher_drift` on the test patients: answers are
drawn at temperature 1, since they are held against the rate expected of a text drawn from the teachers' mixture.

- inheritance: the student's rate of each drift event, that of the mixture on the same images, and their difference (0:
  passed on in full, below: less than the teachers, above: more);
- suppression: mean log-probability per token of planted wrong clauses minus that of their corrected twins, in nats, at
  the same place of the teacher's text (below 0: the wrong clause is the less likely one).

Intervals at 95 %, over patients; p-values from a randomisation test, Holm inside the headline family. One seed, a
student of a million weights, some hundred simulated patients: what it shows is this run, not a method. With `--out` the
runs and the comparison (`compared/table.md`, `table.png`) stay. A user does the same by

    cxr-max eval --model hf --model-args model=RUN/sft/final,temperature=1 --tasks teacher_drift --release RELEASE
                 --truth WORLD/truth --mimic-root WORLD/mimic --out runs/sft        (and so on for the others)
    cxr-max compare runs/base runs/sft runs/apo --out compared
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import common
from cxr_max import align, data, evaluation, recipes, synth
from cxr_max.evaluation.metrics.drift_events import EVENTS
from cxr_max.roots import Root

SEED, DRAWS = 0, 2000
TASK = "teacher_drift"
WORLD = {"subjects": 240, "size": 64, "seed": SEED, "length": 0.1, "subtlety": 0.0, "contrast": 1.5}
"""Short essays, so that minutes are enough to learn to write them."""
RECIPE = {"side": 56, "sight_epochs": 2.0, "epochs": 0.75, "apo_epochs": 0.2}
STAGES = {"base": "sight", "sft": "sft", "apo": "apo"}
ANSWERS = {"temperature": "1", "seed": "0", "max_tokens": "200"}


def main() -> None:
    """Train three students, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="shows that it runs; the figures mean nothing")
    parser.add_argument("--out", type=Path, help="keep everything here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.out or Path(folder), tiny=args.tiny)
    common.write("teacher_drift_students", figures, tiny=args.tiny, packages=("torch", "transformers"))


def measure(folder: Path, *, tiny: bool = False) -> dict[str, Any]:
    """Everything, below a folder."""
    begun, cpu = time.perf_counter(), time.process_time()
    losses = train(folder, tiny=tiny)
    trained = time.perf_counter()
    root = Root("mimic-cxr-jpg", folder / "world" / "mimic", "option")
    context = evaluation.Context((root,), 12 if tiny else None, folder / "release", folder / "world" / "truth")
    draws = 50 if tiny else DRAWS
    rows = {name: ask(folder, name, context, draws) for name in STAGES}
    comparison = evaluation.compare(
        evaluation.CompareConfig(tuple(folder / "runs" / n for n in STAGES), draws=draws, seed=SEED)
    )
    after = evaluation.compare(
        evaluation.CompareConfig(tuple(folder / "runs" / n for n in ("sft", "apo")), draws=draws, seed=SEED)
    )
    evaluation.comparison_page.write(comparison, folder / "compared", overwrite=True)
    asked = rows["sft"]["refusal", "all"]
    return {
        "world": WORLD,
        "recipe": RECIPE,
        "answers": ANSWERS,
        "seconds": {
            "training": round(trained - begun),
            "all": round(time.perf_counter() - begun),
            "cpu": round(time.process_time() - cpu),
        },
        "loss_at_the_end": losses,
        "images": asked["n"],
        "patients": asked["patients"],
        "signature": asked["signature"],
        "inheritance": {event: inheritance(event, rows) for event in EVENTS},
        "suppression": suppression(rows),
        "headline_differences": [*map(_difference, _headlines(comparison)), *map(_difference, _headlines(after))],
    }


def train(folder: Path, *, tiny: bool) -> dict[str, float]:
    """World, release and the stages of the recipe; returns the last loss of each."""
    synth.write_world(synth.WorldConfig(**(WORLD | ({"subjects": 30} if tiny else {}))), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release", findings=False)
    options = {"shrink": True} if tiny else RECIPE
    root = (folder / "world" / "mimic",)
    order = recipes.Order("tiny_cpu", folder / "release", folder / "run", mimic_root=root, seed=SEED, options=options)
    done = [r for r in recipes.run(order) if isinstance(r, align.TrainResult)]
    return {name: round(r.metrics["loss"], 4) for name, r in zip(STAGES, done, strict=True)}


def ask(folder: Path, name: str, context: Any, draws: int) -> dict[tuple[str, str], dict[str, Any]]:
    """One student's answers and their scores, by score and group."""
    model = {"model": str(folder / "run" / STAGES[name] / "final"), **ANSWERS}
    model |= {"max_tokens": "40"} if context.limit else {}
    config = evaluation.EvalConfig((TASK,), folder / "runs" / name, context)
    evaluation.run(config, lambda: evaluation.predictors.make("hf", model))
    rows = evaluation.grade(config.out, draws=draws, seed=SEED)
    return {(r["score"], r["group"]): r for r in rows if r["subset"] == "all"}


def inheritance(event: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """The mixture's rate of an event, and each student's rate and difference to it."""
    students = {
        name: {"rate": _cell(mine[event, "all"]), "minus_mixture": _cell(mine[f"{event}_inherited", "all"])}
        for name, mine in rows.items()
    }
    return {"mixture": _cell(next(iter(rows.values()))[f"{event}_mixture", "all"]), **students}


def suppression(rows: Mapping[str, Any]) -> dict[str, Any]:
    """By kind of wrong clause: how many, and each student's log-ratio and share that prefers the twin."""
    groups = [group for score, group in rows["sft"] if score == "log_ratio"]
    return {
        group: {"clauses": rows["sft"]["log_ratio", group]["n"]}
        | {
            name: {score: _cell(mine[score, group]) for score in ("log_ratio", "prefers_twin")}
            for name, mine in rows.items()
        }
        for group in groups
    }


def _headlines(comparison: Any) -> list[dict[str, Any]]:
    return [d for d in comparison.differences if d["family"] == "headline" and d["subset"] == "all"]


def _difference(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {k: _number(row[k]) for k in ("value", "low", "high", "p_adjusted", "detectable")}
    return {"of": f"{row['run']} minus {row['baseline']}", "score": row["score"], **numbers, "verdict": row["verdict"]}


def _cell(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {k: _number(row[k]) for k in ("value", "low", "high")}


def _number(value: float) -> float | None:
    """Four decimals; undefined is null."""
    return None if value != value else round(float(value), 4)


if __name__ == "__main__":
    main()
