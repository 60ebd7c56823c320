"""`cxr-max sample`."""

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, OVERWRITE, ROOT


def command(
    fraction: float = typer.Option(help="Share of the units, above 0 and at most 1."),
    out: Path = typer.Option(help="The new .parquet file: one row per image."),
    unit: str = typer.Option("study", help="study or patient."),
    split: str = typer.Option("train", help="Split of MIMIC-CXR-JPG."),
    seed: int = typer.Option(0, help="The same seed gives the same list everywhere."),
    stratify: str = typer.Option("", help="Names joined by commas: view, and names of the 14 findings."),
    exclude: list[Path] = typer.Option([], help="File or folder that names patients to leave out; repeatable."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Draw a reproducible share of MIMIC-CXR, without the patients of the evaluation sets that are configured.

    Example: cxr-max sample --fraction 0.1 --unit study --split train --seed 0 --out instances.parquet
    """
    roots = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    config = cxr_max.data.sample.SampleConfig(
        fraction=fraction,
        unit=unit,
        split=split,
        seed=seed,
        stratify=tuple(filter(None, (s.strip() for s in stratify.split(",")))),
        exclude=(*exclude, *(r.path for r in roots if r.name in ("ms-cxr-t", "ms-cxr"))),
    )
    mimic = cxr_max.mimic.open_root(*(r.path for r in roots if r.name in cxr_max.roots.MIMIC_ROOTS))
    drawn = cxr_max.data.sample.draw(mimic, config)
    cxr_max.data.sample.write(drawn, out, overwrite=overwrite)
    rows = drawn.composition.to_dicts()
    if as_json:
        print(json.dumps({"out": str(out), "excluded_patients": drawn.excluded, "composition": rows}, indent=2))
        return
    table = Table("kind", "value", "full", "sample", "full share", "sample share")
    for r in rows:
        shown = ["-" if r[k] is None else f"{r[k]:,}" for k in ("full", "sample")]
        shares = ["-" if r[k] is None else f"{r[k]:.2%}" for k in ("full_share", "sample_share")]
        table.add_row(r["kind"], r["value"], *shown, *shares)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"{drawn.excluded:,} patients of the split are left out; {drawn.images.height:,} images at {out}")
