"""How hard are the synthetic films to be? Set once, on validate, before any preference run.

    python -m benchmarks.synthetic_difficulty --out FOLDER [--student FOLDER] [--seeds 2] [--write] [--tiny]

Steps from hard to easy are fixed below. At each, `sft` of the recipe is trained (the second of its learning rates) and
its macro balanced accuracy on validate taken, mean over seeds; the first step between .65 and .85 is the difficulty.
`--write` stores it, every step that was tried, and the command in `cxr_max/recipes/synthetic_bench.toml`, which is
never written again. Where no step reaches the band, the status says so and the best step is taken.
"""

import argparse
import datetime
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.synthetic_world import make
from cxr_max.errors import CheckFailedError
from cxr_max.evaluation import bench
from cxr_max.evaluation.bench import planning, running
from cxr_max.recipes import synthetic_bench
from cxr_max.roots import resolve

STEPS = (
    {"contrast": 1.0, "noise": 25.0, "subtlety": 0.3},
    {"contrast": 1.25, "noise": 20.0, "subtlety": 0.2},
    {"contrast": 1.5, "noise": 15.0, "subtlety": 0.1},
    {"contrast": 1.75, "noise": 10.0, "subtlety": 0.0},
    {"contrast": 2.0, "noise": 5.0, "subtlety": 0.0},
)
"""From hard to easy."""
BAND = (0.65, 0.85)
STORED = Path(__file__).resolve().parents[1] / "cxr_max" / "recipes" / "synthetic_bench.toml"


def search(out: Path, *, seeds: int, student: str = "", tiny: bool = False) -> dict[str, Any]:
    """Try the steps in order; finished trainings are found again in `out`."""
    tried: list[dict[str, Any]] = []
    for number, step in enumerate(STEPS[:1] if tiny else STEPS):
        place = out / f"step{number}"
        release = make(place, synthetic_bench.world(subjects=40 if tiny else 1000, **step))
        roots, truth = resolve([], mimic_roots=[place / "world" / "mimic"]), place / "world" / "truth"
        options = {"student": student} if student else {}
        config = bench.configure(
            synthetic_bench,
            release,
            place / "bench",
            names=["sft"],
            quick=tiny,
            roots=roots,
            truth=truth,
            options=options,
        )
        row, number_of_rate = config.rows[0], 0 if tiny else 1
        setting = bench.config.candidates(config.design, row)[number_of_rate]
        trials = [planning.Trial(row, setting, number_of_rate, seed) for seed in range(seeds)]
        values = [running.trial_value(config, t, print, whole=True) for t in trials]
        tried.append({**step, "values": values, "mean": float(np.mean(values)), "setting": str(setting)})
        print(tried[-1], flush=True)
        if BAND[0] <= tried[-1]["mean"] <= BAND[1]:
            return {"status": "set", **step, "tried": tried}
    best = max(tried, key=lambda t: t["mean"])
    return {"status": "not reached", **{k: best[k] for k in STEPS[0]}, "tried": tried}


def store(found: dict[str, Any], command: str) -> None:
    """Write the file the recipe reads.

    Raises:
        CheckFailedError: the search was made already.
    """
    if STORED.is_file() and synthetic_bench.difficulty().get("status") != "not set":
        raise CheckFailedError(f"{STORED.name} was searched for; it is never touched afterwards")
    lines = [
        "# Difficulty of the synthetic benchmark, found by the command below on validate; once set, never touched.",
        f'status = "{found["status"]}"',
        *(f"{k} = {found[k]}" for k in ("contrast", "noise", "subtlety")),
        f'command = "{command}"',
        f'date = "{datetime.date.today().isoformat()}"',
    ]
    for t in found["tried"]:
        lines += ["", "[[tried]]", *(f"{k} = {v!r}" if k != "setting" else f'{k} = "{v}"' for k, v in t.items())]
    STORED.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Search, and store when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--student", default="")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = search(
            args.out or Path(folder), seeds=1 if args.tiny else args.seeds, student=args.student, tiny=args.tiny
        )
    common.write("synthetic_difficulty", found, tiny=args.tiny, packages=("torch", "transformers"))
    if args.write and not args.tiny:
        student = " --student FOLDER" if args.student else ""
        store(found, f"python -m benchmarks.synthetic_difficulty --seeds {args.seeds}{student} --write")


if __name__ == "__main__":
    main()
