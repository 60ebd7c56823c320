"""`cxr-max build`."""

import json
import os
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, OVERWRITE, ROOT


def command(
    raw: list[str] = typer.Argument(help="Raw files, folders of them, or hf://datasets/ORG/NAME[@REVISION]."),
    out: Path = typer.Option(help="Folder of the new release."),
    version: str = typer.Option(None, help="Semantic version X.Y.Z; synthetic rows may go without."),
    mapping: Path = typer.Option(None, "--map", help="Mapping file for raw rows that are not recognised."),
    no_findings: bool = typer.Option(False, "--no-findings", help="Leave out the findings table; refusal is null."),
    max_rejected: float = typer.Option(0.01, help="Share of rows that may be rejected, 0 to 1."),
    allow_new_teachers: bool = typer.Option(False, "--allow-new-teachers", help="Accept teachers that are not known."),
    repeated: bool = typer.Option(False, "--repeated", help="Texts of a teacher for the same image are generations."),
    overwrite: bool = OVERWRITE,
    previous: Path = typer.Option(None, help="The release before this one; the version is checked against it."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    jobs: int = typer.Option(0, help="Processes; 0 takes every core."),
    index: str = typer.Option(None, help="Public index (folder or ORG/NAME@vX.Y.Z) this must rebuild, hash by hash."),
    as_json: bool = JSON,
) -> None:
    """Build a release from raw teacher outputs; a root fills split, view, subject and study where they lack.

    Example: cxr-max build raw/ --out cxr-max --version 1.0.0 --mimic-root /data/mimic-cxr-jpg
    """
    if index and (version or overwrite or previous):
        raise cxr_max.errors.UsageError("--index fixes the version and builds a new folder")
    roots = cxr_max.roots.resolve(root, mimic_roots=mimic_root) if root or mimic_root else ()
    options: dict[str, Any] = {
        "mapping": mapping,
        "findings": not no_findings,
        "max_rejected": max_rejected,
        "allow_new_teachers": allow_new_teachers,
        "repeated": repeated,
        "mimic_roots": tuple(dict.fromkeys(r.path for r in roots if r.name in cxr_max.roots.MIMIC_ROOTS)),
        "jobs": jobs or os.cpu_count() or 1,
    }
    if index:
        rebuilt = cxr_max.data.rebuild(index, raw, out, **options)
        built = rebuilt.built._replace(notes=[*rebuilt.built.notes, rebuilt.summary()])
    else:
        built = cxr_max.data.build(raw, out, version, overwrite=overwrite, previous=previous, **options)
    if as_json:
        print(json.dumps(built.to_dict(), indent=2))
    else:
        _show(built)


def _show(built: Any) -> None:
    manifest = built.release.manifest
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print("What was taken for what:")
    for line in cxr_max.data.ingest.grouped(built.explanation):
        console.print(f"  {line}")
    for name, table in manifest["tables"].items():
        console.print(f"{name:>14}  {table['rows']:>10,} rows")
    console.print(f"read {built.n_rows:,} rows, rejected {sum(built.rejected.values()):,}")
    for reason, n in built.rejected.items():
        console.print(f"  {n:>10,}  {reason}: {cxr_max.data.rows.REASONS[reason]}")
    if built.rejected:
        console.print(f"  listed in {built.release.path / cxr_max.data.layout.REJECTED}")
    for note in built.notes:
        console.print(f"note: {note}")
    console.print(f"cxr-max {manifest['version']} ({manifest['release_hash'][:12]}) at {built.release.path}")
