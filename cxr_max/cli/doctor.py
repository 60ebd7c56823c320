"""`cxr-max doctor`."""

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

import cxr_max
from cxr_max.cli._options import JSON


def command(as_json: bool = JSON) -> None:
    """Show versions, extras, caches, roots and what this machine can do.

    Example: cxr-max doctor --json
    """
    report = cxr_max.doctor.examine()
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    if not cxr_max.doctor.healthy(report):
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    memory = f"{report['memory_gib']} GiB" if report["memory_gib"] else "memory unknown"
    console.print(f"cxr-max {report['cxr_max']}, Python {report['python']}, {report['cores']} cores, {memory}")
    console.print(f"{report['platform']}\n")
    packages = Table("package", "extra", "needed", "installed", title="Packages", title_justify="left")
    for r in report["packages"]:
        state = r["installed"] or "missing"
        packages.add_row(r["distribution"], r["extra"], r["needed"], state if r["ok"] else f"[red]{state}[/red]")
    console.print(packages)
    cache = report["cache"]
    console.print(f"\ncache    {cache['path']} (mode {cache['mode'] or 'none yet'}, {cache['bytes'] / 2**20:.1f} MiB)")
    console.print(f"config   {report['config']['path']}{'' if report['config']['exists'] else ' (none yet)'}")
    console.print(f"release  {report['release'] or 'none here; set $CXR_MAX_RELEASE'}")
    for r in report["roots"]["found"]:
        console.print(f"root     {r['name']}: {r['path']} ({r['origin']}{'' if r['readable'] else ', NOT READABLE'})")
    if report["roots"]["error"]:
        console.print(f"[red]roots    {report['roots']['error']}[/red]")
    elif not report["roots"]["found"]:
        console.print("root     none set; cxr-max roots set mimic-cxr-jpg PATH")
    for tool, path in report["tools"].items():
        console.print(f"tool     {tool}: {path or 'not found'} ({cxr_max.doctor.TOOLS[tool]})")
    console.print("\nPossible on this machine:")
    for what, missing in report["can"].items():
        extras = ",".join(e for e in missing if e)
        hint = f'pip install "cxr-max\\[{extras}]"' if extras else "pip install --upgrade cxr-max"
        console.print(f"  [red]no [/red] {what}: {hint}" if missing else f"  [green]yes[/green] {what}")
