"""Put the runs beside each other: paired differences, corrected inside a declared family."""

import csv
from typing import Any

from cxr_max import evaluation
from cxr_max.app.panel import Panel
from cxr_max.app.stages.evaluate import MODELS

SCORE, NUMBERS = "macro_accuracy", ("value", "low", "high")


def run(config: Any) -> Panel:
    """The comparison table; the student before APO is what the others are compared with."""
    out = config.out / "comparison"
    runs = tuple(config.out / "evaluation" / name for name in MODELS)
    draws = 200 if config.quick else 2000
    comparison = evaluation.compare(evaluation.CompareConfig(runs, baseline="sft", draws=draws, seed=config.seed))
    evaluation.comparison_page.write(comparison, out, overwrite=True)
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            r for r in csv.DictReader(file) if r["subset"] == "all" and r["group"] == "mean" and r["score"] == SCORE
        ]
    table = ((r["task"], r["run"], *(f"{float(r[k]):.3f}" if r[k] else "" for k in NUMBERS), r["n"]) for r in rows)
    return Panel(
        f"{out / 'table.md'}: the runs beside each other",
        (
            "A difference counts when its interval excludes zero after correction for all that were looked at.",
            "These students are too small and too briefly trained to rank methods: this shows the way to a table.",
        ),
        (("comparison/table.md", "scores and paired differences"), ("comparison/differences.csv", "every difference")),
        table=(("task, macro-accuracy", "run", *NUMBERS, "n"), *table),
    )
