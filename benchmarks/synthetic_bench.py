"""What the synthetic benchmark shows: table, verdicts and curve, from the result files of its runs.

    python -m benchmarks.synthetic_bench [--tiny]
    python -m benchmarks.synthetic_bench --collect bench-out --error-correlation 0.5

A run is minutes of training, so the runs are made by `cxr-max bench` (`--plan` prints a command for each), on any
number of machines, and their result files are kept: one folder an error correlation, `results/synthetic_bench/0.5` for
the main table, a file a run in its `results/`. `--collect` copies those of an output folder there. This reads what is
there and writes `table.md`, `table.csv` and `table.png` of each, the curve over the correlations, and the figures.
`0.5-greedy` holds the first runs, whose answers were written greedily: beside the curve, kept for what they showed.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from cxr_max.drift.page.draw import DASHES, INK, MARKERS, MUTED, Figure, render, whiskers
from cxr_max.errors import DataError
from cxr_max.evaluation.bench import results, tables
from cxr_max.evaluation.grading import finite
from cxr_max.folders import write_atomic
from cxr_max.recipes import synthetic_bench

KEPT = common.RESULTS / "synthetic_bench"
MAIN = "0.5"
DRAWS = 2000
WINDOW, TOLD = 20, 0.99
Table = dict[str, Any]


def collect(out: Path, correlation: str) -> int:
    """Copy the result files of a benchmark's output folder to those that are kept; returns how many.

    Raises:
        DataError: one of them is of data that are not synthetic, or of a student that was trained on such.
    """
    found = sorted((out / "results").glob("*.json"))
    for path in found:
        about = results.read(path).about
        if not about.get("synthetic") or about.get("saw_real"):
            raise DataError(f"{path.name} is not of synthetic data, so it is not kept here")
        kept = KEPT / correlation / "results"
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept / path.name)
    told = separation(out / "runs")
    if told:
        write_atomic(KEPT / correlation / "separation.json", json.dumps(told, indent=1) + "\n")
    return len(found)


def separation(runs: Path) -> dict[str, dict[str, Any]]:
    """How soon preference training tells the consensus from the teachers, by row, from the logs of all its seeds.

    Returns:
        By row: number of `seeds`; `step`, the latest over seeds of the first step from which over `WINDOW` steps at
        least `TOLD` of all negatives stand below the positive; `length_chosen` and `length_rejected`, mean tokens.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(runs.glob("*-seed*/stage/log.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [x for x in lines if "rewards/accuracies" in x]
        if not lines:
            continue
        right = [x["rewards/accuracies"] for x in lines]
        at = next((i for i in range(len(right) - WINDOW + 1) if statistics.mean(right[i : i + WINDOW]) >= TOLD), None)
        row = found.setdefault(path.parents[1].name.rsplit("-seed", 1)[0], {"seeds": 0, "step": 0, "_length": []})
        row["seeds"] += 1
        row["step"] = None if at is None or row["step"] is None else max(row["step"], int(lines[at]["step"]))
        row["_length"] += [(x["length/chosen"], x["length/rejected"]) for x in lines]
    for row in found.values():
        chosen, rejected = zip(*row.pop("_length"), strict=True)
        row |= {"length_chosen": statistics.mean(chosen), "length_rejected": statistics.mean(rejected)}
    return found


def table_of(folder: Path, draws: int) -> Table:
    """The table of one error correlation.

    Raises:
        DataError: the results there belong to more than one table.
    """
    declared = synthetic_bench.ROWS if folder.name.startswith(MAIN) else synthetic_bench.CURVE
    found = results.read_all(folder / "results")
    made = tables.summarise(found, synthetic_bench.DESIGN, declared=declared, draws=draws)
    if len(made) != 1:
        raise DataError(f"{folder.name} holds results of {len(made)} benchmarks; one is needed")
    return made[0]


def figures(by_correlation: Mapping[str, Table]) -> dict[str, Any]:
    """The figures: rows with what they were judged by and cost, and the differences, by error correlation."""
    found: dict[str, Any] = {}
    for correlation, table in by_correlation.items():
        shown = (*table["endpoints"], "precision", "recall", "words", "abstention")
        found[correlation] = {
            "patients": table["patients"],
            "family": table["family"],
            "difficulty": table["about"]["difficulty"],
            "settings": table["about"].get("settings", "of this run"),
            "rows": {
                r["row"]: {
                    "seeds": r["seeds"], "setting": r["setting"], "not_run": r["not_run"], "costs": r["costs"],
                    **{k: r["estimates"][k] for k in shown if k in r["estimates"]},
                }
                for r in table["rows"]
            },
            "differences": _by_pair(table["differences"]),
        }  # fmt: skip
        told = KEPT / correlation / "separation.json"
        if told.is_file():
            found[correlation]["separation"] = json.loads(told.read_text(encoding="utf-8"))
    return finite(found)


def _by_pair(differences: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for d in differences:
        numbers = {k: v for k, v in d.items() if k not in ("endpoint", "row", "other")}
        found.setdefault(f"{d['row']} - {d['other']}", {})[d["endpoint"]] = numbers
    return found


def curve(found: Mapping[str, Any], endpoints: list[str], baseline: str) -> Figure:
    """Differences from the baseline over the error correlation of the teachers, a panel an endpoint."""
    rows = [r for r in synthetic_bench.CURVE if r != baseline]
    at = sorted((c for c in found if "-" not in c), key=float)

    def draw(figure: Any, narrow: bool) -> None:
        shape = (len(endpoints), 1) if narrow else (1, len(endpoints))
        for ax, endpoint in zip(figure.subplots(*shape, squeeze=False).flat, endpoints, strict=True):
            ax.axhline(0, color=MUTED, linewidth=1)
            for n, row in enumerate(rows):
                named = [(c, found[c]["differences"].get(f"{row} - {baseline}", {}).get(endpoint)) for c in at]
                shift = 0.012 * (n - len(rows) // 2)
                points = [(float(c) + shift, d) for c, d in named if d and d["value"] is not None]
                if points:
                    bars = [whiskers(d["low"], d["high"], d["value"]) for _, d in points]
                    style = {"fmt": MARKERS[n] + DASHES[n % len(DASHES)], "markerfacecolor": "white" if n else INK}
                    ax.errorbar(
                        [x for x, _ in points], [d["value"] for _, d in points], yerr=list(zip(*bars, strict=True)),
                        color=INK, capsize=3, label=row, **style,
                    )  # fmt: skip
            ax.set_xticks([float(c) for c in at], at)
            ax.set_xlabel("error correlation of the simulated teachers (synthetic data)")
            ax.set_ylabel(f"minus {baseline}")
            ax.set_title(endpoint, loc="left", fontsize=9)
        # In one panel, where the last difference leaves room below.
        ax.legend(loc="lower right")

    title = "Synthetic benchmark: differences from supervised training over the teachers' shared errors"
    return Figure("curve", title, "Mean over seeds, 95 % interval over seeds and patients.", draw, (9, 3.6), (4.4, 6.4))


def main() -> None:
    """Collect, or make tables, curve and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collect", type=Path, metavar="OUT", help="copy the result files of this folder first")
    parser.add_argument("--error-correlation", default=MAIN, choices=("0", "0.25", "0.5", "0.75"))
    parser.add_argument("--tiny", action="store_true", help="few draws, nothing kept: shows that it runs")
    args = parser.parse_args()
    if args.collect:
        print(f"{collect(args.collect, args.error_correlation)} results collected")
    draws = 20 if args.tiny else DRAWS
    folders = sorted(f for f in KEPT.iterdir() if f.is_dir())
    found = {f.name: table_of(f, draws) for f in folders}
    numbers, main_table = figures(found), found[MAIN]
    drawn = curve(numbers, main_table["endpoints"], synthetic_bench.DESIGN.baseline)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) if args.tiny else KEPT
        for name, table in found.items():
            (kept / name).mkdir(exist_ok=True)
            tables.write([table], kept / name)
        write_atomic(kept / "curve.png", render(drawn, "png"))
    common.write("synthetic_bench", numbers, tiny=args.tiny, packages=("torch", "transformers"))


if __name__ == "__main__":
    main()
