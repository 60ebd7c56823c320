"""Run a model over tasks: ask what is not yet in the journal, then grade; the same command again does only the rest."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cxr_max import __version__
from cxr_max.errors import DataError, UsageError
from cxr_max.evaluation import overlap, tasks
from cxr_max.evaluation.distributed import Processes, processes
from cxr_max.evaluation.journal import Journal, key_of, merge
from cxr_max.evaluation.types import Context, Failure, Item, Output, Predictor, Sample
from cxr_max.folders import output_dir, private_dir, refuse_git, write_atomic
from cxr_max.progress import track
from cxr_max.roots import Root

JOURNAL = "samples.jsonl"


@dataclass(frozen=True)
class EvalConfig:
    """One evaluation run.

    Attributes:
        tasks: names of tasks.
        out: folder for outputs; raw answers go to `restricted/`.
        context: where the tasks find their data.
        batch: questions handed to the predictor at a time; also how much a kill can lose of a batched model.
        retry_failed: ask failed samples again.
        training_ids: instance ids the model was trained on, where the predictor does not know them; None = unknown.
    """

    tasks: tuple[str, ...]
    out: Path
    context: Context
    batch: int = 64
    retry_failed: bool = True
    training_ids: tuple[str, ...] | None = None


def load(config: EvalConfig) -> dict[str, list[Item]]:
    """The questions of every task, before any model is loaded.

    Raises:
        UsageError: no task, or a task without questions.
        UnknownNameError: a task that does not exist.
        MissingFileError: a file a task needs is not under the roots.
        DataError: a file of a task is broken, or names a sample twice.
        and those of `settings`.
    """
    if not config.tasks:
        raise UsageError("no task is named", next=f"--tasks with one or more of {', '.join(tasks.names())}")
    settings(config.tasks, config.context)
    loaded = {name: tasks.get(name).load(config.context) for name in config.tasks}
    for name, items in loaded.items():
        if not items:
            raise UsageError(f"task {name} has no questions under these roots")
        double = len(items) - len({i.sample.id for i in items})
        if double:
            raise DataError(f"{double} of {len(items)} questions of {name} have the id of another: rows stand twice")
    return loaded


def settings(names: Sequence[str], context: Context) -> dict[str, dict[str, Any]]:
    """By task, what the context's options mean to it: the keyword arguments of its `measures`.

    Raises:
        UnknownNameError: a task that does not exist.
        UsageError: an option that none of the tasks has, or a value that is not allowed.
    """
    chosen = {name: tasks.get(name) for name in names}
    known = sorted({option for task in chosen.values() for option in getattr(task, "OPTIONS", ())})
    unknown = sorted(set(context.options) - set(known))
    if unknown:
        raise UsageError(
            f"no task that was chosen has an option {unknown[0]!r}; their options: {', '.join(known) or 'none'}",
            next="--task-args name=value,...",
        )
    return {name: dict(task.settings(context)) if hasattr(task, "settings") else {} for name, task in chosen.items()}


def run(config: EvalConfig, make: Callable[[], Predictor]) -> Path:
    """Ask every question that is not answered yet; returns the folder.

    Args:
        config: tasks, folder and data.
        make: makes the predictor; called after all data have been found and read.

    Raises:
        the errors of `load`; RestrictedDataError when `out` lies inside a git work tree and data are not synthetic.
    """
    here = processes()
    loaded = load(config)
    if not is_synthetic(config.context):
        refuse_git(config.out)
    predictor = make()
    synthetic = is_synthetic(config.context) and not getattr(predictor, "derived", False)
    if here.is_main:
        output_dir(config.out, synthetic=synthetic)
    here.wait()
    restricted = private_dir(config.out / "restricted")
    order = list(_keys(loaded, predictor).values())
    if here.is_main:
        merge(restricted / JOURNAL, order)
        _describe(config, predictor, synthetic)
    here.wait()
    own = JOURNAL if here.size == 1 else f"{Path(JOURNAL).stem}.{here.rank}.jsonl"
    with Journal(restricted / own) as journal:
        if here.size > 1:
            with Journal(restricted / JOURNAL) as whole:
                journal.answers |= whole.answers
        for name, items in loaded.items():
            _ask(journal, name, items, predictor, config, here)
    here.wait()
    if here.is_main:
        merge(restricted / JOURNAL, order)
    here.wait()
    return config.out


def is_synthetic(context: Context) -> bool:
    """Whether every root that is given lies in a synthetic world."""
    return bool(context.roots) and all(_marked(r.path) for r in context.roots)


def _marked(path: Path) -> bool:
    return any((folder / "SYNTHETIC").is_file() for folder in (path.absolute(), *path.absolute().parents[:3]))


def _describe(config: EvalConfig, predictor: Predictor, synthetic: bool) -> None:
    context = config.context
    described: dict[str, Any] = {
        "cxr_max": __version__,
        "synthetic": synthetic,
        "tasks": list(config.tasks),
        "limit": context.limit,
        "roots": [[r.name, str(r.path.absolute())] for r in context.roots],
        "release": context.release and str(context.release),
        "truth": context.truth and str(context.truth),
        "options": dict(context.options),
        "model": {"name": predictor.name, "revision": predictor.revision, "settings": dict(predictor.settings)},
    }
    if any(tasks.get(name).MIMIC for name in config.tasks):
        ids = getattr(predictor, "training", None) if config.training_ids is None else config.training_ids
        trained = overlap.patients(ids, context)
        described["training_patients"] = None if trained is None else sorted(trained)
    describe(config.out, described)


def describe(out: Path, run_: Mapping[str, Any]) -> None:
    """Write down what a run was, in its folder."""
    path = private_dir(out / "restricted") / "run.json"
    write_atomic(path, json.dumps(run_, indent=2) + "\n", mode=0o600)


def described(out: Path) -> dict[str, Any]:
    """What a run was, from its folder.

    Raises:
        UsageError: the folder holds no run. DataError: what it says of its run is damaged.
    """
    path = out / "restricted" / "run.json"
    if not path.is_file():
        raise UsageError(f"{out} holds no evaluation run", next="cxr-max eval ... --out DIR")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = (content["tasks"], content["roots"], content["model"]["name"], content["synthetic"], content["limit"])
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path} is damaged", next="cxr-max eval ... --out another folder") from e
    return content


def context_of(run_: dict[str, Any]) -> Context:
    """The context a run was made in."""
    roots = tuple(Root(name, Path(path), "run") for name, path in run_["roots"])
    release, truth = (Path(run_[k]) if run_[k] else None for k in ("release", "truth"))
    return Context(roots, run_["limit"], release, truth, run_.get("options", {}))


def _keys(loaded: dict[str, list[Item]], predictor: Predictor) -> dict[tuple[str, str], str]:
    """The journal's key of every question that is asked, in order."""
    return {
        (name, i.sample.id): key_of(tasks.get(name).QUESTIONS, i.sample, predictor)
        for name, items in loaded.items()
        for i in items
        if i.asked
    }


def _ask(
    journal: Journal, name: str, items: Sequence[Item], predictor: Predictor, config: EvalConfig, here: Processes
) -> None:
    prepare = getattr(predictor, "prepare", None)
    if prepare is not None:
        prepare(items)
    questions = tasks.get(name).QUESTIONS
    keys = {i.sample.id: key_of(questions, i.sample, predictor) for i in items}
    wanted = [i for i in items if i.asked]
    missing = {i.sample.id for i in wanted if _is_missing(journal.answers.get(keys[i.sample.id]), config.retry_failed)}
    if not getattr(predictor, "whole_batches", False):
        wanted = [i for i in wanted if i.sample.id in missing]
    batches = here.share([wanted[b : b + config.batch] for b in range(0, len(wanted), config.batch)])
    todo = [b for b in batches if any(i.sample.id in missing for i in b)]
    for batch in track(todo, f"{predictor.name} on {name}") if here.is_main else todo:
        for item, answer in _answers(batch, predictor):
            if item.sample.id in missing:
                journal.add(keys[item.sample.id], answer, _about(questions, item))


def _answers(batch: Sequence[Item], predictor: Predictor) -> Iterable[tuple[Item, Output | Failure]]:
    """Answers to a batch; a question whose images are not there is none that a model could answer."""
    yield from ((i, Failure("image not found")) for i in batch if not i.sample.images)
    rest = [i for i in batch if i.sample.images]
    answers = predictor.predict([i.sample for i in rest])
    yield from ((i, _sound(i.sample, a)) for i, a in zip(rest, answers, strict=True))


def _sound(sample: Sample, answer: Output | Failure) -> Output | Failure:
    """The answer, or a failure where its scores are none: NaN, or not one an option."""
    scores = answer.scores if isinstance(answer, Output) and sample.options else None
    if scores is None:
        return answer
    if len(scores) != len(sample.options):
        return Failure(f"{len(scores)} scores for {len(sample.options)} options")
    return Failure("a score of an option is NaN") if any(s != s for s in scores) else answer


def _about(questions: str, item: Item) -> dict[str, str]:
    return {"questions": questions, "sample": item.sample.id}


def _is_missing(answer: Output | Failure | None, retry_failed: bool) -> bool:
    return answer is None or (retry_failed and isinstance(answer, Failure))


def answered(out: Path, name: str, items: Sequence[Item], run_: dict[str, Any]) -> list[Item]:
    """The questions of a task with the answers a run's journal has for them."""
    model = SimpleNamespace(**run_["model"])
    questions = tasks.get(name).QUESTIONS
    with Journal(out / "restricted" / JOURNAL) as journal:
        return [replace(i, output=journal.answers.get(key_of(questions, i.sample, model))) for i in items]


def write_more(out: Path, run_: dict[str, Any], *, draws: int, seed: int) -> None:
    """Let the tasks that define `write` put what is no score, such as a report, into `out/<task>`."""
    context = context_of(run_)
    for name in run_["tasks"]:
        task = tasks.get(name)
        if hasattr(task, "write"):
            task.write(answered(out, name, task.load(context), run_), context, out / task.NAME, draws=draws, seed=seed)
