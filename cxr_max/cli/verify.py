"""`cxr-max verify`."""

import json
from pathlib import Path

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON


def command(
    release: Path = typer.Argument(help="Folder of the release."),
    as_json: bool = JSON,
) -> None:
    """Check every hash, count, key and contract of a release; names each offending file or row.

    Example: cxr-max verify cxr-max
    """
    result = cxr_max.data.verify.verify(release)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True, markup=False)
        for problem in result.problems:
            console.print(f"{problem.where}: {problem.what}", style="red")
        checked = ", ".join(f"{n:,} {what}" for what, n in result.checked.items())
        console.print(f"{'sound' if result.ok else f'{len(result.problems)} problems'}: {checked} checked in {release}")
    if not result.ok:
        raise typer.Exit(1)
