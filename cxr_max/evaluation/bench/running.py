"""Running the benchmark: trials, the shared sft checkpoint, the row's own stage, the test split, one result file.

Everything is found again by name: a killed job goes on in its last whole checkpoint, a finished one is skipped. Steps
that several jobs need are taken under a lock, so that jobs may run side by side on one folder.
"""

import datetime
import fcntl
import hashlib
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxr_max import __version__, align, doctor
from cxr_max.align import TrainConfig, TrainResult, methods, students
from cxr_max.align import consensus as strategies
from cxr_max.align.consensus import asks
from cxr_max.data.release import open_release
from cxr_max.errors import CheckFailedError, DataError, DivergedError, MissingFileError, UsageError
from cxr_max.evaluation import grading, predictors, tasks
from cxr_max.evaluation.bench import planning, results, stages
from cxr_max.evaluation.bench.config import BenchConfig, Design, Setting, candidates
from cxr_max.evaluation.bench.planning import Job, Trial
from cxr_max.evaluation.bench.results import Result
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.rows import Row
from cxr_max.evaluation.running import EvalConfig
from cxr_max.evaluation.running import run as ask
from cxr_max.evaluation.types import Context
from cxr_max.folders import TRAINING, output_dir, write_atomic
from cxr_max.plugins import code_of
from cxr_max.progress import track

Tell = Callable[[str], None]


class Trained(NamedTuple):
    """A student and what each of its stages took."""

    folder: Path
    stages: tuple[dict[str, Any], ...]


def run(config: BenchConfig, *, only: int | None = None, tell: Tell | None = None) -> list[Result]:
    """Run the jobs that have no result yet, and return all results there are.

    Args:
        config: the benchmark.
        only: index of the one job to run; None runs all.
        tell: takes lines for the user.

    Raises:
        UsageError: no such job; or a job of budget `longest` before the other rows of its seed.
        and whatever training and evaluation raise.
    """
    jobs = planning.plan(config)
    if only is not None and not 0 <= only < len(jobs):
        raise UsageError(f"--only {only}; there are the jobs 0 to {len(jobs) - 1}", next="--plan lists them")
    synthetic = is_synthetic(config)
    output_dir(config.out, synthetic=synthetic and not saw_real(config))
    for job in track(jobs if only is None else [jobs[only]], "jobs"):
        path = result_path(config, job, synthetic=synthetic)
        if path.is_file():
            _check_same(config, job, path)
        else:
            results.write(_job(config, job, tell or (lambda line: None)), path)
    return results.read_all(config.out / "results")


def _check_same(config: BenchConfig, job: Job, path: Path) -> None:
    """A stored result is taken for a job only when it is of the same row, design, release, share and teachers."""
    stored = results.read(path)
    if stored.about.get("definition") != row_digest(job.row):
        problem = f"of another row {job.row.name}, or of an earlier version"
    elif not results.same_apart_from_measures(stored.signature, signature_of(config, job, ())):
        problem = "of another design, release, student, or other teachers"
    else:
        return
    raise UsageError(f"{path} is {problem}", next="choose another --out, or another name for the row")


def is_synthetic(config: BenchConfig) -> bool:
    """Whether the release is synthetic."""
    return bool(open_release(config.release).manifest.get("synthetic"))


def saw_real(config: BenchConfig) -> bool:
    """Whether a student that comes from elsewhere was trained on real data; what it writes is then restricted."""
    folders = [r.folder for r in config.rows if r.folder is not None] + [Path(str(v)) for v in config.options.values()]
    records = [students.read_training(f) for f in folders if (f / TRAINING).is_file()]
    return any(not record.get("synthetic", False) for record in records)


def result_path(config: BenchConfig, job: Job, *, synthetic: bool) -> Path:
    """The result file of a job; the word synthetic stands in its name when the data are."""
    return config.out / "results" / f"{'synthetic-' * synthetic}{'quick-' * config.quick}{job.name}.json"


def _job(config: BenchConfig, job: Job, tell: Tell) -> Result:
    row = job.row
    about = {**_about(config), "definition": row_digest(row), "budget": row.budget}
    empty = Result(row.name, row.sentence, job.seed, job.fraction, signature_of(config, job, ()), about=about)
    lacking = stages.lacking(config, row)
    if lacking:
        return replace(empty, not_run=lacking)
    setting, tried = choose(config, row, tell)
    tell(f"{job.name}: {setting or 'no setting'}, {row.sentence}")
    try:
        trained = _train(config, job, setting, tell)
    except DivergedError as e:
        tell(f"{job.name}: {e.problem}")
        return replace(empty, setting=str(setting or ""), tried=tried, not_run=e.problem)
    folder = config.out / "runs" / job.name / "eval"
    scored = _graded(config, trained.folder, config.design.tasks, folder)
    return replace(
        empty,
        signature=signature_of(config, job, scored),
        measures=results.measures_of(scored),
        costs=trained.stages,
        setting=str(setting or ""),
        tried=tried,
        marks=stages.marks(row, scored),
    )


def choose(config: BenchConfig, row: Any, tell: Tell) -> tuple[Setting | None, dict[str, float | None]]:
    """The setting of a row, chosen on validate by the mean over the trials' seeds, with the value of each candidate.

    An undefined value is None.

    With `settings_from` it is the one that another run chose among the same candidates.

    Raises:
        MissingFileError: that run has no choice for the row. UsageError: it chose among others.
    """
    options = candidates(config.design, row)
    wanted = planning.trials(config, row)
    if not wanted:
        return (options[0] if options else None), {}
    path = (config.settings_from or config.out) / "trials" / f"{row.name}.json"
    if config.settings_from is None:
        with _locked(path):
            if not path.is_file():
                _try_out(config, row, path, tell)
    elif not path.is_file():
        raise MissingFileError(
            f"no settings of row {row.name} in {path.parent}", next="run that benchmark's jobs of the row first"
        )
    stored = _stored_choice(path)
    if stored["definition"] != row_digest(row) or (
        config.settings_from is None and stored["data"] != data_digest(config)
    ):
        raise UsageError(
            f"the settings of row {row.name} in {path.parent} were chosen for another row of this name, or for another "
            "design, release, student, or other teachers",
            next="choose another --out or --settings-from",
        )
    if stored["settings"] != [str(s) for s in options]:
        raise UsageError(
            f"the settings of row {row.name} in {path.parent} were chosen among {', '.join(stored['settings'])}; "
            f"this design tries {', '.join(map(str, options))}",
            next="choose another --out or --settings-from",
        )
    return options[stored["chosen"]], dict(zip(stored["settings"], stored["means"], strict=True))


def _stored_choice(path: Path) -> dict[str, Any]:
    """What `_try_out` wrote.

    Raises:
        DataError: the file is none of these.
    """
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        means, settings = stored["means"], stored["settings"]
        sound = 0 <= stored["chosen"] < len(settings) == len(means) and {"definition", "data"} <= stored.keys()
    except (ValueError, KeyError, TypeError) as e:
        raise _no_choice(path) from e
    if not sound:
        raise _no_choice(path)
    return stored


def _no_choice(path: Path) -> DataError:
    return DataError(
        f"{path} is no choice of settings, or one of an earlier version",
        next="move it away and run a job of the row again; trials that are done are not trained again",
    )


def _try_out(config: BenchConfig, row: Any, path: Path, tell: Tell) -> None:
    """Train and judge every candidate of a row, and write which is best."""
    options, values = candidates(config.design, row), defaultdict[int, list[float]](list)
    for trial in planning.trials(config, row):
        values[trial.number].append(trial_value(config, trial, tell))
    means = [float(np.mean(values[n])) for n in range(len(options))]
    best = int(np.nanargmax(means)) if not all(map(np.isnan, means)) else 0
    content = {"row": row.name, "chosen": best, "by": config.design.chosen_by.title, "values": dict(values),
               "settings": [str(s) for s in options], "means": means,
               "definition": row_digest(row), "data": data_digest(config)}  # fmt: skip
    write_atomic(path, json.dumps(grading.finite(content), indent=2) + "\n")


def trial_value(config: BenchConfig, trial: Trial, tell: Tell, *, whole: bool = False) -> float:
    """Train one trial and judge it on validate; `whole` trains it at full length."""
    out = config.out / "trials" / trial.name
    job = Job(-1, trial.row, trial.seed, max(config.fractions))
    stage = _stage(config, job, trial.setting, out, tell, trial=not whole)
    tell(f"trial {trial.name}: {trial.setting}")
    try:
        trained = align.train(stage, tell=tell)
    except DivergedError as e:
        tell(f"trial {trial.name}: {e.problem}")
        return float("nan")
    end = config.design.chosen_by
    scored = _graded(config, trained.folder, (end.task,), out / "eval")
    found = next((s for s in scored if (s.row["score"], s.row["group"]) == (end.score, end.group)), None)
    if found is None:
        raise UsageError(f"no score {end.score} for {end.group} in task {end.task}, by which settings are chosen")
    # Of few patients a row shows no value; choosing by it shows none either.
    return float(found.interval.value)


def _train(config: BenchConfig, job: Job, setting: Setting | None, tell: Tell) -> Trained:
    row = job.row
    if not row.trained or setting is None:
        return Trained(row.folder or stages.pretrained_folder(config), ())
    if row.name == planning.SFT:
        return _sft(config, job, tell)
    out = config.out / "runs" / job.name / "stage"
    before = _sft(config, job, tell) if row.start == "sft" else Trained(Path(), ())
    stage = _stage(config, job, setting, out, tell)
    done = align.train(stage, tell=tell)
    return Trained(done.folder, (*before.stages, _cost(row.name, done)))


def _sft(config: BenchConfig, job: Job, tell: Tell) -> Trained:
    """The sft checkpoint of a seed and fraction: trained by whoever needs it first."""
    row = planning.sft_of(config)
    shared = Job(-1, row, job.seed, job.fraction)
    out = config.out / "runs" / shared.name / "stage"
    setting, _ = choose(config, row, tell)
    if setting is None:
        raise UsageError("the row sft trains nothing, so no row can start from it")
    with _locked(out):
        done = align.train(_stage(config, shared, setting, out, tell), tell=tell)
    return Trained(done.folder, (_cost(row.name, done),))


def _stage(
    config: BenchConfig, job: Job, setting: Setting, out: Path, tell: Tell, *, trial: bool = False
) -> TrainConfig:
    """The configuration of a row's own stage."""
    strategy, release = job.row.consensus, config.release
    written = bool(strategy) and asks(strategy)
    student = _sft(config, job, tell).folder if job.row.start == "sft" or written else None
    start = student if job.row.start == "sft" else None
    if strategy:
        with _locked(stages.consensus_folder(config, strategy, student or Path())):
            release = stages.consensus_release(config, strategy, student or Path())
    stage = stages.stage_of(config, job, setting, stages.Place(release, out, start), trial=trial)
    if job.row.budget == "longest" and not trial:
        stage = stage.with_(max_steps=_steps_to_longest(config, job, tell))
    return stage


def _steps_to_longest(config: BenchConfig, job: Job, tell: Tell) -> int:
    """Steps of sft that bring its cost up to that of the costliest other row of the seed."""
    others = [j for j in planning.plan(config) if j.row.budget != "longest" and j.row.trained]
    others = [j for j in others if not stages.lacking(config, j.row)]
    mine = [j for j in others if (j.seed, j.fraction) == (job.seed, job.fraction)]
    synthetic = is_synthetic(config)
    paths = [result_path(config, j, synthetic=synthetic) for j in mine]
    missing = [str(j.index) for j, p in zip(mine, paths, strict=True) if not p.is_file()]
    if missing:
        raise UsageError(
            f"{job.row.name} is trained up to the cost of the costliest row of its seed; "
            f"jobs {', '.join(missing)} have no result yet",
            next="run those first",
        )
    longest = max(results.read(p).cost("flop") for p in paths)
    base = _sft(config, job, tell).stages[0]
    return max(1, round((longest - float(base["flop"])) / (float(base["flop"]) / int(base["steps"]))))


def _cost(name: str, done: TrainResult) -> dict[str, Any]:
    return {"stage": name, "steps": done.steps, **vars(done.cost)}


def _graded(config: BenchConfig, folder: Path, tasks_: tuple[str, ...], out: Path) -> list[Scored]:
    context = Context(config.roots, None, config.release, config.truth)
    options = {"model": str(folder), **config.design.predictor}
    ask(EvalConfig(tasks_, out, context), lambda: predictors.make("hf", options))
    found = [s for s in grading.scored(out, draws=0) if s.row["subset"].startswith("all")]
    failed = [s.row for s in found if s.row.get("failed")]
    if failed:
        raise CheckFailedError(
            f"{failed[0]['failed']} of {failed[0]['n']} questions of {failed[0]['task']} have no answer"
        )
    return found


def signature_of(config: BenchConfig, job: Job, scored: list[Scored] | tuple[()]) -> str:
    """Everything two results must share to stand in one table.

    Tool, recipe, design, release, share of the patients and teachers; task and its version are in the design's
    endpoints, and what was measured how (extractor, prompt, answers read how) in a hash over the scores' signatures.
    """
    manifest = open_release(config.release).manifest
    task = "; ".join(f"{name} v{tasks.get(name).VERSION}" for name in config.design.tasks)
    extractors = sorted({m.profile for s in scored for m in s.measures if m.profile}) or ["not run"]
    parts = [
        f"cxr-max {__version__}", f"recipe {config.recipe.NAME}", f"design {design_digest(config)}",
        f"release {manifest['version']} {manifest['release_hash'][:12]}", task, "; ".join(extractors),
        f"fraction {job.fraction:g}", f"teachers {','.join(config.teachers) or 'all'}",
        *(["synthetic"] if manifest.get("synthetic") else []),
    ]  # fmt: skip
    return "|".join(parts)


def data_digest(config: BenchConfig) -> str:
    """Identifies everything that a row's settings were chosen on: 12 hex digits."""
    trial = Job(-1, planning.sft_of(config), 0, max(config.fractions))
    return _digest(results.apart_from_measures(signature_of(config, trial, ())))


def row_digest(row: Row) -> str:
    """Identifies what a row does, whatever it is called and says, with the code of a user's method: 12 hex digits."""
    fields = {k: v for k, v in vars(row).items() if k not in ("name", "sentence", "source", "folder")}
    code = [code_of(methods.get(row.method))] if row.trained else []
    code += [code_of(strategies.get(row.consensus))] if row.consensus else []
    return _digest({**fields, "folder": row.folder and _identity(str(row.folder)), "code": code})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def design_digest(config: BenchConfig) -> str:
    """Identifies the design and the recipe's options: 12 hex digits."""
    options = {k: _identity(str(v)) for k, v in config.options.items()}
    return _digest([_plain(config.design), options])


def _identity(value: str) -> str:
    """What stands for an option: of a checkpoint its record, wherever it lies; else the value."""
    record = Path(value) / "training.json"
    return hashlib.sha256(record.read_bytes()).hexdigest() if record.is_file() else value


def _plain(design: Design) -> dict[str, Any]:
    # Which rows are shown and compared changes no number of a row.
    return {k: str(v) for k, v in vars(design).items() if k not in ("rows", "contrasts")}


def _about(config: BenchConfig) -> dict[str, Any]:
    manifest = open_release(config.release).manifest
    fixed: dict[str, Any] = getattr(config.recipe, "difficulty", dict)()
    return {
        "recipe": config.recipe.NAME,
        "difficulty": {k: fixed[k] for k in ("status", "contrast", "noise", "subtlety") if k in fixed},
        "synthetic": bool(manifest.get("synthetic")),
        "saw_real": saw_real(config),
        "undertrained": config.design.undertrained,
        "settings": "of another run" if config.settings_from else "of this run",
        "release": f"{manifest['version']} {manifest['release_hash'][:12]}",
        "date": datetime.date.today().isoformat(),
        "commit": doctor.commit(),
        "versions": {p: importlib.metadata.version(p) for p in ("cxr-max", "torch", "transformers")},
        "machine": doctor.machine(),
    }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a step that several jobs may want; the lock is the system's and ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
