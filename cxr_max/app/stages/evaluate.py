"""Evaluate the students, and the two baselines that need no training, on the benchmark-shaped sets and the truth."""

from typing import Any

from cxr_max import evaluation
from cxr_max.app.panel import Panel
from cxr_max.evaluation import predictors
from cxr_max.roots import Root

TASKS = ("ms_cxr_t_presence_blank0", "ms_cxr_t_progression", "zero_shot_chestx_det10", "diagnosis_test")
MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "majority": ("majority", {}),
    "random": ("random", {}),
    "sft": ("hf", {"model": "train/sft/final"}),
    "apo": ("hf", {"model": "train/apo/final"}),
}
"""Name of the run -> predictor and its arguments; folders are relative to the demo's."""


def run(config: Any) -> Panel:
    """Scores with intervals; a killed run continues where it was."""
    world = config.out / "world"
    roots = (
        Root("mimic-cxr-jpg", world / "mimic", "demo"),
        *(Root(name, world / "eval" / name, "demo") for name in ("ms-cxr-t", "chestx-det10")),
    )
    limit = 24 if config.quick else 100
    tokens = "96" if config.quick else "400"
    context = evaluation.Context(roots, limit, config.out / "cxr-max", world / "truth")
    for name, (kind, given) in MODELS.items():
        out = config.out / "evaluation" / name
        options = {k: str(config.out / v) for k, v in given.items()} | ({"max_tokens": tokens} if kind == "hf" else {})
        evaluation.run(
            evaluation.EvalConfig(TASKS, out, context),
            lambda kind=kind, options=options: predictors.make(kind, options),
        )
        evaluation.grade(out, draws=200 if config.quick else 2000)
    return Panel(
        f"{config.out / 'evaluation'}: table.md of each model",
        (f"At most {limit} questions a task; every number in the tables carries its interval and signature.",),
        tuple((f"evaluation/{name}/table.md", f"scores of {name}") for name in MODELS),
    )
