"""`cxr-max train`."""

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, ROOT


def command(
    recipe: str = typer.Argument(help="Name of a recipe, or path of a Python file that is one."),
    options: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Options of the recipe."),
    release: Path = typer.Option(..., "--release", help="Release folder; never guessed."),
    out: Path = typer.Option(..., "--out", help="Folder of the run; the same command goes on with it."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    seed: int = typer.Option(0, "--seed", help="Seed of weights, order, dropout and draws."),
    remote_metrics: bool = typer.Option(False, "--remote-metrics", help="Let a remote tracker have scalars."),
    as_json: bool = JSON,
) -> None:
    """Train a student by a recipe: supervised training, consensus, preference optimization.

    Says what it will take before it starts. Killed at any moment, the same command goes on.

    Example: cxr-max train tiny_cpu --release release --mimic-root world/mimic --out runs/tiny epochs=2
    """
    console = Console(highlight=False, soft_wrap=True, markup=False, stderr=as_json)
    recipes = cxr_max.recipes
    order = recipes.Order(
        recipe, release, out, tuple(root), tuple(mimic_root), seed, recipes.parse(options or []), remote_metrics
    )
    results = recipes.run(order, tell=console.print)
    if as_json:
        kept = ("folder", "steps", "resumed_from", "metrics", "cost")
        trained = [r for r in results if hasattr(r, "training_ids")]
        print(json.dumps([{k: v for k, v in asdict(r).items() if k in kept} for r in trained], indent=2, default=str))
