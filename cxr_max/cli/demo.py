"""`cxr-max demo`."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

import cxr_max
from cxr_max.cli._options import JSON


def command(
    out: Path = typer.Option(Path("demo-out"), "--out", help="Folder for everything the demo writes."),
    quick: bool = typer.Option(False, "--quick", help="Smaller and undertrained: shows the pipeline only."),
    seed: int = typer.Option(0, "--seed", help="Seed of the synthetic world."),
    as_json: bool = JSON,
) -> None:
    """Run the whole main job on a synthetic world; started again, it continues.

    Example: cxr-max demo --quick --out demo-out
    """
    console = Console(highlight=False, stderr=as_json)
    demo = cxr_max.app.demo
    config = demo.DemoConfig(out=out, quick=quick, seed=seed)
    results = demo.run(config, on_stage=lambda name, what: console.print(f"[bold]{name}[/bold]: {what} ..."))
    if as_json:
        print(json.dumps([r.to_dict() for r in results], indent=2))
        return
    table = Table("stage", "state", "seconds", "look at")
    for r in results:
        table.add_row(r.name, r.state, f"{r.seconds:.1f}" if r.state == "done" else "", r.note)
    console.print(table)
    console.print(f"Open {out / 'index.html'}: a page that summarises and links all of it.")
