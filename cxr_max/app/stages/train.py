"""Train the tiny student: it learns to see, then supervised training on all teachers, then APO on their consensus."""

from typing import Any

from cxr_max import recipes
from cxr_max.app.panel import Panel

LONG = {"sight_epochs": 12.0, "epochs": 3.0, "apo_epochs": 1.0}
QUICK = {"sight_epochs": 2.0, "epochs": 0.25, "apo_epochs": 0.25}


def run(config: Any) -> Panel:
    """The recipe `tiny_cpu`; a killed run goes on with its last whole checkpoint."""
    out = config.out / "train"
    order = recipes.Order(
        "tiny_cpu",
        config.out / "cxr-max",
        out,
        (f"ms-cxr-t={config.out / 'world' / 'eval' / 'ms-cxr-t'}",),
        (config.out / "world" / "mimic",),
        config.seed,
        QUICK if config.quick else LONG,
    )
    results = [r for r in recipes.run(order) if hasattr(r, "training_ids")]
    rows = (
        (
            r.folder.parent.name,
            str(r.steps),
            f"{r.metrics['loss']:.3f}",
            f"{r.cost.trunk_tokens:,}",
            f"{r.cost.wall_s:.0f}",
        )
        for r in results
    )
    return Panel(
        f"{out}: a folder per stage; final/ in each loads with transformers",
        (
            f"A student of a few million random weights learned from {len(results[0].training_ids)} images of patients "
            "who are in no evaluation set.",
        ),
        tuple(
            (f"train/{r.folder.parent.name}/final/README.md", f"model card of {r.folder.parent.name}") for r in results
        ),
        table=(("stage", "steps", "loss", "trunk tokens", "seconds"), *rows),
    )
