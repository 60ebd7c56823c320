"""`cxr-max compare`."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.markdown import Markdown

import cxr_max
from cxr_max.cli._options import JSON, OVERWRITE


def command(
    runs: list[Path] = typer.Argument(None, metavar="DIR", help="Folders of runs of `cxr-max eval`."),
    published: bool = typer.Option(False, "--published", help="Also print the paper's tables near these tasks."),
    gate: Path | None = typer.Option(None, "--gate", metavar="DIR", help="Exit 1 when a run is worse than this one."),
    baseline: str = typer.Option("", "--baseline", metavar="NAME", help="The run others are compared with; the first."),
    scores: str = typer.Option("", "--scores", metavar="A,B", help="Headline scores; the first of each task."),
    out: Path | None = typer.Option(None, "--out", help="Folder for table.md, table.csv, table.png, compare.json."),
    draws: int = typer.Option(2000, "--draws", min=0, help="Draws of bootstrap and randomisation."),
    seed: int = typer.Option(0, "--seed", help="Seed of the draws."),
    as_json: bool = JSON,
    overwrite: bool = OVERWRITE,
) -> None:
    """Compare runs: scores with intervals, paired differences corrected inside declared families, a gate.

    Example: cxr-max compare runs/sft runs/apo --published --out compared; cxr-max compare runs/new --gate runs/stored
    """
    evaluation = cxr_max.evaluation
    console = Console(highlight=False)
    if published and not runs:
        tables = evaluation.published.tables()
        if as_json:
            print(json.dumps([t._asdict() for t in tables], indent=2))
        else:
            console.print(Markdown(evaluation.published.markdown(tables)))
        return
    wanted = tuple(s.strip() for s in scores.split(",") if s.strip())
    config = evaluation.CompareConfig(tuple(runs or ()), baseline, wanted, draws, seed)
    comparison = evaluation.compare(config)
    page = evaluation.comparison_page
    if out is not None:
        page.write(comparison, out, with_published=published, overwrite=overwrite)
    beside = page.published_for(comparison) if published else ()
    checked = evaluation.gating.check_all(comparison.loaded, gate) if gate is not None else []
    if as_json:
        about = {"published": [t._asdict() for t in beside], "gate": checked}
        print(json.dumps(evaluation.grading.finite({**comparison.plain(), **about}), indent=2))
    else:
        console.print(Markdown(page.markdown(comparison, beside)))
    evaluation.gating.enforce(checked)
