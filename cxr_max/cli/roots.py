"""`cxr-max roots set|show`."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

import cxr_max
from cxr_max.cli._options import JSON

app = typer.Typer(no_args_is_help=True, help="Where your datasets lie.\n\nExample: cxr-max roots show")


@app.command()
def set(
    name: str = typer.Argument(help="Name of the dataset, such as mimic-cxr-jpg."),
    path: Path = typer.Argument(help="Its folder, or a parent of it."),
) -> None:
    """Remember the folder of a dataset in your config file.

    Example: cxr-max roots set mimic-cxr-jpg /data/mimic-cxr-jpg
    """
    file = cxr_max.roots.remember(name, path)
    print(f"{name} = {path} (in {file})")


@app.command()
def show(as_json: bool = JSON) -> None:
    """Show the roots in force and where each comes from.

    Example: cxr-max roots show --json
    """
    roots = cxr_max.roots.resolve()
    if as_json:
        print(json.dumps([{"name": r.name, "path": str(r.path), "origin": r.origin} for r in roots], indent=2))
        return
    table = Table("name", "path", "from", "what it is")
    for name, what in cxr_max.roots.ROOTS.items():
        mine = [r for r in roots if r.name == name]
        for r in mine:
            table.add_row(name, str(r.path), r.origin, what)
        if not mine:
            table.add_row(name, "-", "-", what, style="dim")
    Console(highlight=False).print(table)
