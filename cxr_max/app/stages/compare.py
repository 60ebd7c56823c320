"""Put the runs beside each other: paired differences, corrected inside a declared family."""

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from cxr_max import evaluation
from cxr_max.app.panel import Panel
from cxr_max.app.stages.evaluate import MODELS, TASKS

SCORE, NUMBERS = "macro_accuracy", ("value", "low", "high")
NO_ANSWER = ("no answer", "", "")


def run(config: Any) -> Panel:
    """The comparison table; the student before APO is what the others are compared with."""
    out = config.out / "comparison"
    runs = tuple(config.out / "evaluation" / name for name in MODELS)
    draws = 200 if config.quick else 2000
    comparison = evaluation.compare(evaluation.CompareConfig(runs, baseline="sft", draws=draws, seed=config.seed))
    evaluation.comparison_page.write(comparison, out, overwrite=True)
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        table = shown(csv.DictReader(file))
    return Panel(
        f"{out / 'table.md'}: the runs beside each other",
        (
            "A difference counts when its interval excludes zero after correction for all that were looked at.",
            "These students are too small and too briefly trained to rank methods: this shows the way to a table.",
        ),
        (("comparison/table.md", "scores and paired differences"), ("comparison/differences.csv", "every difference")),
        table=(("task, macro-accuracy", "run", *NUMBERS, "n"), *table),
    )


def shown(rows: Iterable[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """The mean over findings of every task and run, by task; a run that answered nothing has no accuracy to show."""
    means = {(r["task"], r["run"], r["score"]): r for r in rows if (r["subset"], r["group"]) == ("all", "mean")}
    table = []
    for task, run_ in ((task, name) for task in TASKS for name in MODELS):
        row, silent = means.get((task, run_, SCORE)), means.get((task, run_, "abstention"))
        if row is None:
            continue
        none = silent is not None and silent["value"] and float(silent["value"]) == 1
        numbers = NO_ANSWER if none else tuple(f"{float(row[k]):.3f}" if row[k] else "" for k in NUMBERS)
        table.append((task, run_, *numbers, row["n"]))
    return table
