"""`cxr-max eval`."""

from pathlib import Path

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON, MIMIC_ROOT, ROOT, TRUTH


def command(
    model: str = typer.Option(..., "--model", help="hf, openai, file, majority, echo or random."),
    tasks: str = typer.Option(..., "--tasks", help="Names of tasks, with commas between."),
    out: Path = typer.Option(..., "--out", help="Folder of the run; the same command again does what is missing."),
    model_args: str = typer.Option("", "--model-args", help="Arguments of the model: name=value,..."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    release: Path | None = typer.Option(None, "--release", help="Release folder, for tasks that need one."),
    truth: Path | None = TRUTH,
    limit: int | None = typer.Option(None, "--limit", min=1, help="At most so many questions a task."),
    adapter: str = typer.Option("", "--adapter", help="Folder of a PEFT adapter on the model (hf)."),
    batch_size: str = typer.Option("auto", "--batch-size", help="Questions in one forward (hf), or auto."),
    training: Path | None = typer.Option(
        None, "--training", help="training.json or list of instance ids of a model that does not bring its own."
    ),
    task_args: str = typer.Option("", "--task-args", help="Options of tasks: name=value,..., as vocabulary=train."),
    draws: int = typer.Option(2000, "--draws", min=0, help="Bootstrap draws."),
    seed: int = typer.Option(0, "--seed", help="Seed of the draws."),
    as_json: bool = JSON,
) -> None:
    """Run a model over tasks and grade it; the raw answers are kept, so that `grade` needs no model.

    Example: cxr-max eval --model random --tasks zero_shot_open_i --root open-i=PATH --out runs/random

    Several processes: accelerate launch --num_processes 4 -m cxr_max.cli eval --model hf --model-args model=DIR ...
    """
    evaluation = cxr_max.evaluation
    roots = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    names = tuple(t.strip() for t in tasks.split(",") if t.strip())
    context = evaluation.Context(roots, limit, release, truth, evaluation.parse_task_args(task_args))
    size = evaluation.predictors.parse_batch_size(batch_size)
    ids = None if training is None else evaluation.overlap.read(training)
    config = evaluation.EvalConfig(names, out, context, training_ids=ids, **({"batch": size} if size else {}))
    options = evaluation.parse_model_args(model_args)
    evaluation.run(config, evaluation.predictors.maker(model, options, adapter=adapter, batch_size=size))
    if not evaluation.distributed.processes().is_main:
        return
    evaluation.grade(out, draws=draws, seed=seed)
    if as_json:
        print((out / "scores.json").read_text(encoding="utf-8"))
    else:
        Console(highlight=False).print(f"scores in {out / 'table.md'} and {out / 'scores.json'}")
