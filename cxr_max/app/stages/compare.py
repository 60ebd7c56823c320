"""Put the runs beside each other: paired differences, corrected inside a declared family."""

import csv
from typing import Any

from cxr_max import evaluation
from cxr_max.app.panel import Panel
from cxr_max.app.stages.evaluate import MODELS


def run(config: Any) -> Panel:
    """The comparison table; the student before APO is what the others are compared with."""
    out = config.out / "comparison"
    runs = tuple(config.out / "evaluation" / name for name in MODELS)
    draws = 200 if config.quick else 2000
    comparison = evaluation.compare(evaluation.CompareConfig(runs, baseline="sft", draws=draws, seed=config.seed))
    evaluation.comparison_page.write(comparison, out, overwrite=True)
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        table = tuple(tuple(row) for row in csv.reader(file))
    picture = "comparison/table.png" if (out / "table.png").exists() else ""
    return Panel(
        f"{out / 'table.md'}: the runs beside each other",
        ("A difference counts when its interval excludes zero after correction for all that were looked at.",),
        (("comparison/table.md", "scores and paired differences"), ("comparison/differences.csv", "every difference")),
        picture,
        "Scores of the synthetic runs with intervals.",
        table,
    )
