"""`cxr-max mimic ...`."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import cxr_max

app = typer.Typer(
    no_args_is_help=True, help="Your own copy of MIMIC-CXR.\n\nExample: cxr-max mimic check --mimic-root /data/mimic"
)
SHOWN = 50
"""Leaks listed on a terminal; `--json` has all of them."""


ROOT = typer.Option([], "--root", metavar="NAME=PATH", help="Where a dataset lies; repeatable.")
MIMIC_ROOT = typer.Option([], "--mimic-root", help="MIMIC-CXR and MIMIC-CXR-JPG, or a parent folder; repeatable.")
JSON = typer.Option(False, "--json", help="Print everything as JSON.")


def _open(root: list[str], mimic_root: list[Path]) -> Any:
    found = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    names = (*cxr_max.roots.MIMIC_ROOTS, "ms-cxr-t", "ms-cxr")
    return cxr_max.mimic.open_root(*(r for r in found if r.name in names))


@app.command()
def check(root: list[str] = ROOT, mimic_root: list[Path] = MIMIC_ROOT, as_json: bool = JSON) -> None:
    """Show what is there, in which version, what is missing and what that disables.

    Example: cxr-max mimic check --mimic-root /data/mimic-cxr-jpg
    """
    result = cxr_max.mimic.check(_open(root, mimic_root))
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console = Console(highlight=False)
    table = Table("part", "version", "where, or what is disabled without it")
    for part in result.parts:
        if part.found:
            more = f" (and {len(part.where) - 1} more)" if len(part.where) > 1 else ""
            table.add_row(f"[green]{part.part}[/green]", part.version or "", f"{part.where[0]}{more}")
        else:
            table.add_row(f"[red]{part.part}[/red]", "missing", part.disables, style="dim")
    console.print(table)
    if result.synthetic:
        console.print("marked as synthetic")
    if result.truncated:
        console.print("[yellow]more folders than the search goes into: give a folder nearer to the data[/yellow]")


@app.command()
def guard(
    path: Path = typer.Argument(help="A file or folder: release, HTML page, log, checkpoint."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    as_json: bool = JSON,
) -> None:
    """Look for report text, image bytes and label vectors of MIMIC-CXR where they may not lie; exit 1 when found.

    Example: cxr-max mimic guard drift-out/ --mimic-root /data/mimic-cxr
    """
    report = cxr_max.mimic.guard.guard(path, _open(root, mimic_root))
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _show_guard(report)
    if not report.ok:
        raise typer.Exit(1)


def _details(leak: Any) -> str:
    if not leak.words:
        return escape(leak.detail)
    return f"{leak.words} words of {'1 or 2' if leak.patients < 3 else '3 or more'} patients' reports"


def _show_guard(report: Any) -> None:
    console = Console(highlight=False, soft_wrap=True)
    had = report.compared
    console.print(
        f"compared with {had['reports']:,} reports of {had['patients']:,} patients, {had['labels']:,} label rows, "
        f"{had['dicom_ids']:,} dicom_ids"
    )
    console.print(
        f"looked at {report.files:,} files ({report.bytes / 2**20:,.1f} MiB): {report.words:,} words, "
        f"{report.pictures:,} pictures, {report.tables:,} tables, in {report.seconds:.1f} s"
    )
    for leak in report.leaks[:SHOWN]:
        console.print(f"[red]{leak.kind}[/red]", escape(f"{leak.where} {leak.at}"), _details(leak), sep="  ")
    for where, reason in report.closed[:SHOWN]:
        console.print(f"not looked into: {where} {reason}", markup=False)
    for what, number in report.allowed.items():
        console.print(f"{what}: {number:,} places where it may lie")
    console.print(f"stock phrases (no leaks): {report.stock:,}")
    total = sum(report.found.values())
    if total:
        console.print(f"[red]{total:,} leaks[/red]: {', '.join(f'{k} {n:,}' for k, n in report.found.items())}")
        if total > SHOWN:
            console.print(f"the first {SHOWN} are shown; --json has more")
    else:
        console.print("[green]nothing found[/green]")
