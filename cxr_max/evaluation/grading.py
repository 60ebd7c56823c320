"""Grade stored answers: scores with clustered intervals, each with a signature; the model is not needed.

Writes `scores.json`, `table.md`, `table.csv` and `table.png` into the run's folder: aggregates only, no ids, and on
data that are not synthetic no cell over fewer than 10 patients.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation import ask, labelled, metrics, running, score_files, signatures, tasks
from cxr_max.evaluation.intervals import Floats, Interval, bootstrap, mean
from cxr_max.evaluation.predictors.echo import NAME as ECHO
from cxr_max.evaluation.predictors.echo import Echo
from cxr_max.evaluation.score_files import finite as finite
from cxr_max.evaluation.types import Item, Measure
from cxr_max.folders import is_restricted

FEW_PATIENTS = 10
COUNTS_OF_CLASSES = ("classes", "majority", "positive", "prevalence", "class_patients")
"""What would tell how many samples of one class there are."""
READS = ("auto", "score", "parse", "report")
UNSEEN = "unseen patients"
GIVEN = "_given_dx"


class Scored(NamedTuple):
    """One score with what a paired comparison needs of it.

    Attributes:
        row: as in `scores.json`.
        interval: value, limits and draws.
        measures: the measures it comes from; several for a mean over groups.
        samples: ids of the task's questions in order; two runs are paired when these are the same.
        patients: cluster of each question of the task, in the same order.
    """

    row: dict[str, Any]
    interval: Interval
    measures: tuple[Measure, ...]
    samples: tuple[str, ...]
    patients: tuple[str, ...]


@dataclass(frozen=True)
class GradeConfig:
    """How stored answers are graded.

    Attributes:
        draws: bootstrap draws.
        seed: of the draws.
        training_patients: patients the model was trained on; None takes what the run knows of them. Where that is
            nothing, scores on MIMIC-CXR are marked "overlap not established".
        read: how closed questions are read: `auto` (by what the answers are), `score`, `parse` or `report`.
        extractors: further extractors for reports, name to file; see `labelled`.
        options: of the tasks that have some, instead of the run's; see `tasks`.
    """

    draws: int = 2000
    seed: int = 0
    training_patients: Collection[str] | None = None
    read: str = "auto"
    extractors: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.read not in READS:
            raise UnknownNameError.of("reading", self.read, READS)


def grade(out: Path, config: GradeConfig | None = None, **options: Any) -> list[dict[str, Any]]:
    """Score every task of a run from its journal.

    Args:
        out: folder of the run.
        config: how; or its attributes one by one.
        **options: of `GradeConfig`, instead of it.

    Returns:
        One row a score; also written to `scores.json`, `table.md`, `table.csv`, `table.png`.

    Raises:
        UsageError: the folder holds no run. MissingFileError: the data of a task are gone.
    """
    config = GradeConfig(**options) if config is None else config
    run_ = running.described(out)
    rows = [s.row for s in scored(out, config)]
    score_files.write(out, rows, run_)
    given = {name: str(path.absolute()) for name, path in config.extractors.items()}
    graded = {"read": config.read, "extractors": given, "options": config.options}
    running.describe(out, {**run_, "graded": graded})
    running.write_more(out, run_, draws=config.draws, seed=config.seed)
    return rows


def as_graded(out: Path, **options: Any) -> GradeConfig:
    """The way a run was graded last, so that a comparison shows what its own files show; draws and seed by `options`.

    Raises:
        UsageError: the folder holds no run.
    """
    last = running.described(out).get("graded", {})
    extractors = {name: Path(path) for name, path in last.get("extractors", {}).items()}
    return GradeConfig(read=last.get("read", "auto"), extractors=extractors, options=last.get("options"), **options)


def scored(out: Path, config: GradeConfig | None = None, **options: Any) -> list[Scored]:
    """The scores of a run with draws and statistics; arguments and errors as `grade`, but nothing is written."""
    config = GradeConfig(**options) if config is None else config
    run_ = running.described(out)
    context = running.context_of(run_)
    if config.options is not None:
        context = replace(context, options=config.options)
    settings = running.settings(run_["tasks"], context)
    trained = run_.get("training_patients") if config.training_patients is None else config.training_patients
    extractors = labelled.build(config.extractors)
    found: list[Scored] = []
    for name in run_["tasks"]:
        task = tasks.get(name)
        items = running.answered(out, name, task.load(context), run_)
        with metrics.remembering():
            parts = [Part(task, i, s, run_, settings[name]) for s, i in _subsets(task, items, trained).items()]
            found += _parts(parts, config, extractors)
    if is_restricted(run_["synthetic"]):
        found = [s._replace(row=_suppress(s.row)) for s in found]
    return found


def _subsets(task: Any, items: list[Item], trained: Collection[str] | None) -> dict[str, list[Item]]:
    """All samples, and for MIMIC-CXR tasks those of patients the model has not seen."""
    if not task.MIMIC:
        return {"all": items}
    if trained is None:
        return {"all (overlap not established)": items}
    known = frozenset(trained)
    return {"all": items, UNSEEN: [i for i in items if i.sample.patient not in known]}


def _parts(parts: Sequence["Part"], config: GradeConfig, extractors: Sequence[Any]) -> list[Scored]:
    """The scores of all samples and of those of some patients."""
    whole = parts[0]
    found = rows = _rows_of(whole, config, extractors)
    for part in parts[1:]:
        if len(part.items) == len(whole.items):
            # Nothing is left out, so nothing is computed again.
            found = found + [s._replace(row={**s.row, "subset": part.subset}) for s in rows]
            continue
        mine = _rows_of(part, config, extractors)
        # The two blocks subtracted would show the few patients that only one of them has.
        left_out = len(set(ask.patients_of(whole.items)) - set(ask.patients_of(part.items)))
        few = is_restricted(part.run["synthetic"]) and 0 < left_out < FEW_PATIENTS
        found = found + ([s._replace(row=_hidden(s.row)) for s in mine] if few else mine)
    return found


def _rows_of(part: "Part", config: GradeConfig, extractors: Sequence[Any]) -> list[Scored]:
    return (_score(part, config, extractors) if part.items else []) or [_nothing(part)]


def _nothing(part: "Part") -> Scored:
    """A row for a block without samples: undefined, and said so."""
    nan = float("nan")
    interval = Interval(nan, nan, nan, np.empty(0), 0)
    row = {"task": part.task.NAME, "score": "none", "subset": part.subset, "read": "", "better": 0, "group": "all",
           **_cells(interval), "n": 0, "failed": 0, "empty": 0}  # fmt: skip
    how = signatures.of(part.task, part.run, None, read="", drawn="no draws")
    return Scored({**row, "signature": signatures.counted(how, row)}, interval, (), (), ())


class Part(NamedTuple):
    """What is scored at a time: the items of a task, or those of some patients."""

    task: Any
    items: list[Item]
    subset: str
    run: dict[str, Any]
    settings: Mapping[str, Any]


def _score(part: Part, config: GradeConfig, extractors: Sequence[Any]) -> list[Scored]:
    task, items = part.task, part.items
    fixed = getattr(task, "READ", None)
    read = fixed or (ask.how(items) if config.read == "auto" else config.read)
    if read == "score" and ask.how(items) != "score":
        raise UsageError(f"not every answer of {task.NAME} has scores of its options", next="--read parse")
    measures = task.measures(items, read, **part.settings)
    if fixed == "report":
        measures = [*measures, *labelled.measures(items, extractors)]
    rows = _rows(part, measures, read, config)
    if task.NAME.endswith(GIVEN):
        answers = Echo().predict([i.sample for i in items])
        repeated = [replace(i, output=o) for i, o in zip(items, answers, strict=True)]
        beside = fixed or "parse"
        rows += [_beside(s) for s in _rows(part, task.measures(repeated, beside, **part.settings), beside, config)]
    return rows


def _beside(scored_: Scored) -> Scored:
    """A score of the echo baseline: a row of its own that no comparison of models takes up."""
    row = scored_.row
    return scored_._replace(row={**row, "group": f"{ECHO}: {row['group']}", "better": 0})


def _rows(part: Part, measures: Sequence[Measure], read: str, config: GradeConfig) -> list[Scored]:
    task, items = part.task, part.items
    samples, patients = tuple(i.sample.id for i in items), ask.patients_of(items)
    parts: dict[str, list[tuple[Measure, Interval]]] = {}
    for measure in measures:
        metric = metrics.get(measure.metric)
        for name in metric.aggregate(measure.stats):
            if not measure.keep or name in measure.keep:
                interval = bootstrap(
                    _scorer(metric, measure, name),
                    measure.patients,
                    all_patients=patients,
                    draws=config.draws,
                    seed=config.seed,
                )
                parts.setdefault(name, []).append((measure, interval))
    drawn = f"cluster bootstrap {config.draws}, seed {config.seed}"
    over = hashlib.sha256("\n".join(sorted(samples)).encode()).hexdigest()[:12]
    rows = []
    for name, found in parts.items():
        better = metrics.get(found[0][0].metric).better(name)
        shared = {"task": task.NAME, "score": name, "subset": part.subset, "read": read, "better": better,
                  "samples": over}  # fmt: skip

        def add(interval: Interval, row: dict[str, Any], of: Sequence[Measure], shared: Any = shared) -> None:
            how = signatures.of(task, part.run, of[0], read=read, drawn=drawn)
            row = {**shared, **_cells(interval), **row}
            row["signature"] = signatures.counted(how, row)
            rows.append(Scored(row, interval, tuple(of), samples, patients))

        for m, i in found:
            add(i, {"group": m.group, **m.notes}, [m])
        groups = [(m, i) for m, i in found if m.averaged]
        if len(groups) > 1:
            total = {k: sum(int(m.notes.get(k, 0)) for m, _ in groups) for k in signatures.COUNTS}
            undefined = sum(bool(np.isnan(i.value)) for _, i in groups)
            macro = mean([i for _, i in groups])
            add(macro, {"group": "mean", **total, "undefined_groups": undefined}, [m for m, _ in groups])
    return rows


def _scorer(metric: metrics.Metric, measure: Measure, name: str) -> Callable[[Floats], Floats]:
    return lambda weights: metric.aggregate(measure.stats, weights)[name]


def _cells(interval: Interval) -> dict[str, Any]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "undefined_draws": int(np.isnan(interval.draws).sum()),
        "patients": interval.patients,
    }


def _suppress(row: dict[str, Any]) -> dict[str, Any]:
    """A row that may be shown: hidden below 10 patients, its counts by class hidden where one class has fewer."""
    if row["patients"] < FEW_PATIENTS and row["n"]:
        return _hidden(row)
    if any(n < FEW_PATIENTS for n in row.get("class_patients", {}).values()):
        kept = {k: v for k, v in row.items() if k not in COUNTS_OF_CLASSES}
        return {**kept, "classes": f"suppressed: one with fewer than {FEW_PATIENTS} patients"}
    return row


def _hidden(row: dict[str, Any]) -> dict[str, Any]:
    kept = {k: row[k] for k in ("task", "score", "group", "subset", "read", "better")}
    kept["signature"] = f"{signatures.comparable(row['signature'])}|counts suppressed"
    # Patients and samples are 0 so that whoever reads rows finds the columns; how many there are is not said.
    return {**kept, "patients": 0, "n": 0, "suppressed": f"fewer than {FEW_PATIENTS} patients"}
