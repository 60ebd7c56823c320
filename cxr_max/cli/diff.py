"""`cxr-max diff`."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

import cxr_max
from cxr_max.cli._options import JSON


def command(
    old: Path = typer.Argument(help="The older release."),
    new: Path = typer.Argument(help="The newer release."),
    rows: Path = typer.Option(None, help="Write the key of every changed row to this new .csv file."),
    as_json: bool = JSON,
) -> None:
    """Compare two releases row by row: added, removed, changed (which columns), per teacher.

    Example: cxr-max diff cxr-max-1.0.0 cxr-max --rows changes.csv
    """
    found = cxr_max.data.diff.compare(old, new, rows=rows)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table("table", "teacher", "added", "removed", "changed", "columns")
    for name, t in found.tables.items():
        columns = ", ".join([f"{c} ({n:,})" for c, n in t["columns"].items()] + [f"{c} (schema)" for c in t["schema"]])
        table.add_row(name, "all", *(f"{t[k]:,}" for k in ("added", "removed", "changed")), columns)
        for teacher, counts in t["teachers"].items():
            table.add_row("", teacher, *(f"{counts[k]:,}" for k in ("added", "removed", "changed")), "", style="dim")
    console.print(table)
    console.print(f"{found.old} -> {found.new}: {'the same data' if found.same else 'different data'}")
