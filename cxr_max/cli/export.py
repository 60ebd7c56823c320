"""`cxr-max export`."""

from pathlib import Path

import typer

import cxr_max
from cxr_max.cli._options import JSON, OVERWRITE
from cxr_max.cli._written import show


def command(
    release: Path = typer.Argument(help="Folder of the release."),
    format: str = typer.Option(help="ms-swift, trl, llama-factory or csv."),
    out: Path = typer.Option(help="The new file: .jsonl, .parquet for trl, .csv."),
    what: str = typer.Option("auto", help="preferences, sft, or auto: preferences when there are any."),
    strategy: str = typer.Option(None, help="Consensus strategy, when there are several."),
    split: str = typer.Option(None, help="One split; all without."),
    image_root: Path = typer.Option(None, help="Folder that holds MIMIC's files/; makes image paths whole."),
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Write a release in the format of a trainer.

    Example: cxr-max export cxr-max --format trl --out pairs.parquet --image-root /data/mimic-cxr-jpg
    """
    config = cxr_max.data.export.ExportConfig(
        format=format,
        out=out,
        what=what,
        strategy=strategy,
        split=split,
        image_root=image_root,
        overwrite=overwrite,
    )
    done = cxr_max.data.export.export(cxr_max.data.open_release(release), config)
    lines = (f"{done.rows:,} rows at {done.path}", *(f"note: {note}" for note in done.notes))
    show(done, lines, as_json=as_json)
