"""`cxr-max consensus`."""

import json
from pathlib import Path

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, OVERWRITE, ROOT


def command(
    release: Path = typer.Argument(help="Folder of the release."),
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings of the strategy: k=5, ..."),
    strategy: str = typer.Option(help="vote, in_context, one of an installed package, or a Python file."),
    out: Path = typer.Option(help="Folder of the new version; the same command again goes on where it stopped."),
    version: str = typer.Option(help="Version of the new release: the next minor one, or a later one."),
    model: str = typer.Option(None, help="For in_context: a model's folder, or http://127.0.0.1:PORT/v1#SERVED_NAME."),
    retention: str = typer.Option(None, help="For a remote endpoint: PROVIDER;DATE;WORDING of its retention term."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    negatives: str = typer.Option("all", help="all, drifting, top_k, no_refusals, same_diagnoses."),
    weights: str = typer.Option("drift", help="Weights of the negatives: drift, count, none."),
    teachers: str = typer.Option("", metavar="A,B", help="Teachers who take part; all without."),
    split: str = typer.Option(None, help="One split; all without."),
    limit: int = typer.Option(None, min=1, help="At most so many instances."),
    seed: int = typer.Option(0, help="Seed of everything that is drawn."),
    jobs: int = typer.Option(1, min=1, help="Worker processes."),
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Make one consensus trajectory per instance, and preferences, as a new minor version of the release.

    Example: cxr-max consensus cxr-max --strategy vote --out cxr-max-1.1 --version 1.1.0
    """
    made = cxr_max.align.consensus
    roots = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    config = made.ConsensusConfig(
        release=release,
        strategy=strategy,
        out=out,
        version=version,
        hyper=made.parse_settings(settings or []),
        model=model,
        retention=made.parse_retention(retention),
        mimic_roots=tuple(dict.fromkeys(r.path for r in roots if r.name in cxr_max.roots.MIMIC_ROOTS)),
        negatives=cxr_max.align.negatives.Choice(kind=negatives, weights=weights),
        teachers=tuple(t for t in teachers.split(",") if t.strip()),
        split=split,
        limit=limit,
        seed=seed,
        jobs=jobs,
        overwrite=overwrite,
    )
    result = made.run(config)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in result.lines():
        console.print(line)
