"""`cxr-max bench`."""

import json
from functools import partial
from pathlib import Path

import typer
from rich.console import Console
from rich.markdown import Markdown

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, ROOT, TRUTH

WIDE = 200
"""Characters from which on the table is drawn."""


def command(
    options: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Options of the recipe."),
    recipe: str = typer.Option(..., "--recipe", help="Recipe with a design: what is fixed before the first run."),
    release: Path = typer.Option(..., "--release", help="Release folder."),
    out: Path = typer.Option(..., "--out", help="Folder of everything; the same command again goes on."),
    rows: str = typer.Option("", "--rows", metavar="A,B", help="Rows by name or TOML file; the recipe's without."),
    add: list[str] = typer.Option([], "--add", metavar="NAME=DIR", help="A model trained elsewhere; repeatable."),
    seeds: int = typer.Option(1, "--seeds", min=1, help="Runs a row."),
    quick: bool = typer.Option(False, "--quick", help="Small and undertrained: shows the pipeline only."),
    plan: bool = typer.Option(False, "--plan", help="Print one resumable command a row and seed, and run nothing."),
    only: int | None = typer.Option(None, "--only", metavar="I", help="Run this job of the plan alone."),
    fraction: str = typer.Option("1", "--fraction", metavar="F,...", help="Shares of the training patients."),
    teachers: str = typer.Option("", "--teachers", metavar="K|A,B", help="The paper's first K teachers, or these."),
    truth: Path | None = TRUTH,
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    settings_from: Path | None = typer.Option(
        None, "--settings-from", metavar="DIR", help="Settings that this other --out chose; no trials are made."
    ),
    draws: int = typer.Option(2000, "--draws", min=1, help="Bootstrap draws."),
    as_json: bool = JSON,
) -> None:
    """Compare methods on equal terms: train every row at every seed, evaluate, and say better, worse or undecided.

    Example: cxr-max bench --recipe synthetic_bench --release release --mimic-root world/mimic --truth world/truth
    --rows sft,dpo_pairs,apo --seeds 5 --out bench
    """
    bench = cxr_max.evaluation.bench
    console = Console(highlight=False, soft_wrap=True)
    module = cxr_max.recipes.REGISTRY.get(recipe)
    roots = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    config = bench.configure(
        module, release, out, names=[r for r in rows.split(",") if r], added=add, quick=quick, seeds=seeds,
        fractions=bench.shares(fraction), teachers=bench.some_teachers(teachers), truth=truth, roots=roots, draws=draws,
        options=cxr_max.recipes.parse(options or ()), settings_from=settings_from,
        spelled=recipe,
    )  # fmt: skip
    cxr_max.open_release(release)
    if plan:
        places = [("--root", r) for r in root] + [("--mimic-root", str(p)) for p in mimic_root]
        places += [(o, str(p)) for o, p in (("--truth", truth), ("--settings-from", settings_from)) if p]
        lines = bench.commands(config, places)
        print(json.dumps(lines, indent=2) if as_json else "\n".join(lines))
        return
    found = bench.run(config, only=only, tell=None if as_json else partial(console.print, markup=False))
    tables = bench.tables.summarise(found, config.design, declared=[r.name for r in config.rows], draws=draws)
    bench.tables.write(tables, out)
    if as_json:
        print(json.dumps(cxr_max.evaluation.grading.finite(tables), indent=2))
    else:
        # Tables as wide as these are cut to pieces by a narrow terminal; as text a line is a line.
        text = "\n".join(map(bench.tables.markdown, tables))
        console.print(Markdown(text) if console.width >= WIDE else text, markup=False)
        console.print(
            f"wrote {out / 'table.md'}, table.csv, table.png, scores.json; a result a job in {out / 'results'}"
        )
