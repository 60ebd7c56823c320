"""`cxr-max grade`."""

from pathlib import Path

import typer
from rich.console import Console
from rich.markdown import Markdown

import cxr_max
from cxr_max.cli._options import JSON


def command(
    folder: Path = typer.Argument(help="Folder of a run of `cxr-max eval`."),
    draws: int = typer.Option(2000, "--draws", min=0, help="Bootstrap draws."),
    seed: int = typer.Option(0, "--seed", help="Seed of the draws."),
    read: str = typer.Option("auto", "--read", help="Closed questions by score, parse or report; auto by the answers."),
    extractor: list[str] = typer.Option(
        [], "--extractor", help="labels_csv=FILE or radgraph=FILE: reports graded by it too; repeatable."
    ),
    task_args: str | None = typer.Option(None, "--task-args", help="Options of tasks instead of the run's."),
    as_json: bool = JSON,
) -> None:
    """Grade a run's stored answers again, without its model.

    Example: cxr-max grade runs/random
    """
    extractors = cxr_max.evaluation.labelled.parse(extractor)
    options = None if task_args is None else cxr_max.evaluation.parse_task_args(task_args)
    cxr_max.evaluation.grade(folder, draws=draws, seed=seed, read=read, extractors=extractors, options=options)
    if as_json:
        print((folder / "scores.json").read_text(encoding="utf-8"))
    else:
        Console(highlight=False).print(Markdown((folder / "table.md").read_text(encoding="utf-8")))
