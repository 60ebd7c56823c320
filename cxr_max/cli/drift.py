"""`cxr-max drift`."""

import json
import math
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Column, Table

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, OVERWRITE, ROOT

FIGURES = {
    "precision": "precision", "recall": "recall", "f1": "F1", "similarity_tfidf": "tf-idf",
    "average (as in the paper)": "average", "precision_above_shuffle": "precision, above shuffled",
    "recall_above_shuffle": "recall, above shuffled", "precision_beyond_prompt": "precision, beyond prompt",
    "recall_beyond_prompt": "recall, beyond prompt", "grounding_accuracy/micro": "side",
    "grounding_side_prior/micro": "side, prior", "invented_finding_rate/micro": "invented",
    "laterality_flip_rate/micro": "side flipped", "negation_flip_rate/micro": "negated", "hedging_rate/micro": "hedged",
    "refusal_rate": "refused", "n_words": "words",
}  # fmt: skip
HEADLINES = ("headline", "steps")
CELL = 23
"""Characters of a value with its interval and the borders."""


def command(
    release: Path | None = typer.Argument(None, help="A release folder; or use --texts."),
    out: Path = typer.Option(..., "--out", help="Folder for report.json and restricted/."),
    texts: Path | None = typer.Option(None, "--texts", help="Candidates: jsonl, csv or parquet with id and text."),
    references: Path | None = typer.Option(None, "--references", help="Reports by id, for --texts."),
    teachers: str = typer.Option("", "--teachers", metavar="A,B", help="Only these teachers."),
    split: str | None = typer.Option(None, "--split", help="Only this split."),
    section: str = typer.Option("both", "--section", help="Reference: both, findings or impression."),
    level: str = typer.Option("side", "--level", help="What must agree: concept, side or zone."),
    unc: str = typer.Option("pos", "--unc", help="Uncertain findings: pos, neg, drop or own."),
    mode: str = typer.Option("present", "--mode", help="present, or present+absent."),
    by: str = typer.Option("", "--by", metavar="A,B", help="Subgroups: view, split, n_diseases, single_disease."),
    similarity: str = typer.Option("tfidf", "--similarity", help="tfidf, encoder or encoder:PATH."),
    draws: int = typer.Option(2000, "--draws", help="Bootstrap draws."),
    permutations: int = typer.Option(199, "--permutations", help="Permutations of every test."),
    seed: int = typer.Option(0, "--seed", help="Seed of everything random."),
    limit: int | None = typer.Option(None, "--limit", help="At most so many instances."),
    embedding_n: int = typer.Option(2000, "--embedding-n", help="Studies for energy distance, MMD and C2ST; 0 = none."),
    against: Path | None = typer.Option(None, "--against", help="An older release to compare with."),
    jobs: int = typer.Option(1, "--jobs", help="Processes for extraction where the release holds no findings."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    as_json: bool = JSON,
    overwrite: bool = OVERWRITE,
) -> None:
    """Measure how the teachers drift apart: against the reports, from each other, along their reasoning.

    Example: cxr-max drift cxr-max-release/ --mimic-root /data/mimic-cxr-jpg --out drift-out
    """
    report = cxr_max.drift.run(
        release, out, texts=(texts, references), where=(root, mimic_root), against=against, overwrite=overwrite,
        teachers=[t for t in teachers.split(",") if t] or None, split=split, section=section, level=level, unc=unc,
        mode=mode, by=[b for b in by.split(",") if b], similarity=similarity, draws=draws, permutations=permutations,
        seed=seed, limit=limit, embedding_n=embedding_n, jobs=jobs,
    )  # fmt: skip
    if as_json:
        print(json.dumps(report.plain(), indent=1))
        return
    _show(report, out)


def _show(report: Any, out: Path) -> None:
    console = Console(highlight=False)
    about = report.about
    console.print(
        f"{about['dataset']} {about['version']}: {about['n_instances']:,} instances, {about['n_trajectories']:,} "
        f"trajectories, {about['n_patients']:,} patients; methods {about['signature']}"
    )
    rows = report.table(tuple(FIGURES))
    shown = [f for f in FIGURES if any(r[f] for r in rows)]
    names = [cxr_max.teachers.display_name(r["teacher"]) for r in rows]
    fit = max(1, (console.width - max(map(len, names), default=0) - 4) // CELL)
    for start in range(0, len(shown), fit):
        part = shown[start : start + fit]
        table = Table(Column("teacher", no_wrap=True), *(FIGURES[f] for f in part))
        for name, r in zip(names, rows, strict=True):
            table.add_row(name, *(_cell(r[f]) for f in part))
        console.print(table)
    tests = Table("test", "statistic", "p", "adjusted", "detectable", "n", title="Tests", title_justify="left")
    for t in report.shareable()["tests"]:
        if t["family"] in HEADLINES:
            numbers = (_number(t[k]) for k in ("statistic", "p", "p_adjusted", "smallest_detectable"))
            tests.add_row(t["test"], *numbers, str(t["n"]))
    console.print(tests)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"wrote {out / 'index.html'}, its figures, and {out / 'report.json'}")


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "" if row is None else row.get("suppressed", "")
    return f"{_number(row['value'])} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "undefined" if value is not None else ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
