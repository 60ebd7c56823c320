"""Evaluate the two baselines that need no training on the benchmark-shaped sets."""

from typing import Any

from cxr_max import evaluation
from cxr_max.app.panel import Panel
from cxr_max.evaluation import predictors
from cxr_max.roots import Root

TASKS = ("ms_cxr_t_presence_blank0", "ms_cxr_t_progression", "zero_shot_chestx_det10")
BASELINES = ("majority", "random")


def run(config: Any) -> Panel:
    """Scores with intervals; a killed run continues where it was."""
    world = config.out / "world"
    roots = (
        Root("mimic-cxr-jpg", world / "mimic", "demo"),
        *(Root(name, world / "eval" / name, "demo") for name in ("ms-cxr-t", "chestx-det10")),
    )
    context = evaluation.Context(roots, limit=200 if config.quick else None)
    for name in BASELINES:
        out = config.out / "evaluation" / name
        evaluation.run(evaluation.EvalConfig(TASKS, out, context), lambda name=name: predictors.make(name, {}))
        evaluation.grade(out, draws=200 if config.quick else 2000)
    links = tuple((f"evaluation/{name}/table.md", f"scores of {name}") for name in BASELINES)
    return Panel(f"{config.out / 'evaluation'}: table.md of each baseline", links=links)
