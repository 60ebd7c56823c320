"""Grade stored answers: scores with clustered intervals, each with a signature; the model is not needed.

Writes `scores.json`, `table.md`, `table.csv` and `table.png` into the run's folder: aggregates only, no ids, and on
data that are not synthetic no cell over fewer than 10 patients.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxr_max import __version__
from cxr_max.drift.page.draw import render
from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation import ask, labelled, metrics, running, tasks
from cxr_max.evaluation.intervals import Floats, Interval, bootstrap, mean
from cxr_max.evaluation.predictors.echo import NAME as ECHO
from cxr_max.evaluation.predictors.echo import Echo
from cxr_max.evaluation.score_figure import picture
from cxr_max.evaluation.types import Item, Measure
from cxr_max.folders import is_restricted, write_atomic

FEW_PATIENTS = 10
READS = ("auto", "score", "parse", "report")
UNSEEN = "unseen patients"
GIVEN = "_given_dx"
COLUMNS = ("task", "score", "group", "subset", "value", "low", "high", "n", "patients", "failed", "read", "signature")


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
    """

    draws: int = 2000
    seed: int = 0
    training_patients: Collection[str] | None = None
    read: str = "auto"
    extractors: Mapping[str, Path] = field(default_factory=dict)

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
    _write(out, rows, run_)
    running.write_more(out, run_, draws=config.draws, seed=config.seed)
    return rows


def scored(out: Path, config: GradeConfig | None = None, **options: Any) -> list[Scored]:
    """The scores of a run with draws and statistics; arguments and errors as `grade`, but nothing is written."""
    config = GradeConfig(**options) if config is None else config
    run_ = running.described(out)
    context = running.context_of(run_)
    trained = run_.get("training_patients") if config.training_patients is None else config.training_patients
    extractors = labelled.build(config.extractors)
    found: list[Scored] = []
    for name in run_["tasks"]:
        task = tasks.get(name)
        items = running.answered(out, name, task.load(context), run_)
        parts = _subsets(task, items, trained)
        few = is_restricted(run_["synthetic"]) and 0 < _left_out(parts) < FEW_PATIENTS
        for subset, chosen in parts.items():
            rows = _score(Part(task, chosen, subset, run_), config, extractors) if chosen else []
            rows = rows or [_nothing(task, subset, run_)]
            # The two blocks subtracted would show the few patients that only one of them has.
            found += [s._replace(row=_hidden(s.row)) for s in rows] if few and subset == UNSEEN else rows
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


def _left_out(parts: Mapping[str, list[Item]]) -> int:
    """Patients that are in one block and not in the other."""
    seen = [set(ask.patients_of(items)) for items in parts.values()]
    return len(seen[0] - seen[-1])


def _nothing(task: Any, subset: str, run_: dict[str, Any]) -> Scored:
    """A row for a block without samples: undefined, and said so."""
    nan = float("nan")
    interval = Interval(nan, nan, nan, np.empty(0), 0)
    row = {"task": task.NAME, "score": "none", "subset": subset, "read": "", "better": 0, "group": "all",
           "signature": _signature(task, "no samples", run_), **_cells(interval), "n": 0, "failed": 0}  # fmt: skip
    return Scored(row, interval, (), (), ())


class Part(NamedTuple):
    """What is scored at a time: the items of a task, or those of some patients."""

    task: Any
    items: list[Item]
    subset: str
    run: dict[str, Any]


def _score(part: Part, config: GradeConfig, extractors: Sequence[Any]) -> list[Scored]:
    task, items, _, _ = part
    fixed = getattr(task, "READ", None)
    read = fixed or (ask.how(items) if config.read == "auto" else config.read)
    if read == "score" and ask.how(items) != "score":
        raise UsageError(f"not every answer of {task.NAME} has scores of its options", next="--read parse")
    measures = task.measures(items, read)
    if fixed == "report":
        measures = [*measures, *labelled.measures(items, extractors)]
    rows = _rows(part, measures, read, config)
    if task.NAME.endswith(GIVEN):
        answers = Echo().predict([i.sample for i in items])
        repeated = [replace(i, output=o) for i, o in zip(items, answers, strict=True)]
        beside = fixed or "parse"
        rows += [_beside(s) for s in _rows(part, task.measures(repeated, beside), beside, config)]
    return rows


def _beside(scored_: Scored) -> Scored:
    """A score of the echo baseline: a row of its own that no comparison of models takes up."""
    row = scored_.row
    return scored_._replace(row={**row, "group": f"{ECHO}: {row['group']}", "better": 0})


def _rows(part: Part, measures: Sequence[Measure], read: str, config: GradeConfig) -> list[Scored]:
    task, items, subset, run_ = part
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
    how_drawn = f"cluster bootstrap {config.draws}, seed {config.seed}"
    rows = []
    for name, found in parts.items():
        signatures = [
            _signature(task, f"{m.metric} v{metrics.get(m.metric).version} {m.profile}", run_) for m, _ in found
        ]
        better = metrics.get(found[0][0].metric).better(name)
        shared = {"task": task.NAME, "score": name, "subset": subset, "read": read, "better": better}
        for (m, i), signature in zip(found, signatures, strict=True):
            row = {**shared, "signature": f"{signature}|{how_drawn}", "group": m.group, **_cells(i), **m.notes}
            rows.append(Scored(row, i, (m,), samples, patients))
        if len(found) > 1 and all(m.averaged for m, _ in found):
            shared["signature"] = f"{signatures[0]}|{how_drawn}"
            total = {k: sum(int(m.notes.get(k, 0)) for m, _ in found) for k in ("n", "failed")}
            undefined = sum(bool(np.isnan(i.value)) for _, i in found)
            macro = mean([i for _, i in found])
            row = {**shared, "group": "mean", **_cells(macro), **total, "undefined_groups": undefined}
            rows.append(Scored(row, macro, tuple(m for m, _ in found), samples, patients))
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


def _signature(task: Any, how: str, run_: dict[str, Any]) -> str:
    """Everything two numbers must share to stand in one column, apart from the model."""
    prompt = ask.question_hash(task.PROMPT) if hasattr(task, "PROMPT") else "none"
    images = "text-only" if run_["model"]["settings"].get("images") is False else "images"
    limit = "all" if run_["limit"] is None else run_["limit"]
    made = "|synthetic" if run_["synthetic"] else ""
    return f"cxr-max {__version__}|{task.NAME} v{task.VERSION}|{how}|prompt {prompt}|{images}|samples {limit}{made}"


def _suppress(row: dict[str, Any]) -> dict[str, Any]:
    """A row that may be shown: hidden below 10 patients, its counts by class hidden where one class has fewer."""
    if row["patients"] < FEW_PATIENTS and row["n"]:
        return _hidden(row)
    if any(n < FEW_PATIENTS for n in row.get("class_patients", {}).values()):
        kept = {k: v for k, v in row.items() if k not in ("classes", "majority", "positive", "class_patients")}
        return {**kept, "classes": f"suppressed: one with fewer than {FEW_PATIENTS} patients"}
    return row


def _hidden(row: dict[str, Any]) -> dict[str, Any]:
    kept = {k: row[k] for k in ("task", "score", "group", "subset", "read", "signature", "better")}
    # Patients and samples are 0 so that whoever reads rows finds the columns; how many there are is not said.
    return {**kept, "patients": 0, "n": 0, "suppressed": f"fewer than {FEW_PATIENTS} patients"}


def _write(out: Path, rows: Sequence[dict[str, Any]], run_: dict[str, Any]) -> None:
    model = {**run_["model"], "settings_sha256": _digest(run_["model"]["settings"])}
    content = {"cxr_max": __version__, "synthetic": run_["synthetic"], "model": model, "scores": list(rows)}
    write_atomic(out / "scores.json", json.dumps(finite(content), indent=2) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows({k: _text(v) for k, v in r.items()} for r in rows)
    write_atomic(out / "table.csv", text.getvalue())
    write_atomic(out / "table.md", table(rows, title=_title(run_)))
    drawn = picture(rows, _title(run_))
    if drawn is None:
        (out / "table.png").unlink(missing_ok=True)
    else:
        write_atomic(out / "table.png", render(drawn, "png"))


def _title(run_: dict[str, Any]) -> str:
    return f"{run_['model']['name']}{' on synthetic data' if run_['synthetic'] else ''}"


def table(rows: Sequence[dict[str, Any]], *, title: str) -> str:
    """The scores as Markdown: one block a task and subset, with the signature under it."""
    lines = [f"# {title}", ""]
    blocks: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["task"], row["subset"], row["signature"]), []).append(row)
    for (task, subset, signature), mine in blocks.items():
        lines += [f"## {task}, {subset}", "", "| score | group | value | 95 % interval | n | patients | failed |"]
        lines += ["| --- | --- | ---: | --- | ---: | ---: | ---: |", *map(_line, mine), "", f"`{signature}`", ""]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if "suppressed" in row:
        return f"| {row['score']} | {row['group']} | {row['suppressed']} | | | | |"
    interval = f"{_text(row['low'])} to {_text(row['high'])}"
    cells = (row["score"], row["group"], _text(row["value"]), interval, row["n"], row["patients"], row["failed"])
    return "| " + " | ".join(map(str, cells)) + " |"


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "undefined" if np.isnan(value) else f"{value:.4f}"
    return value


def finite(value: Any) -> Any:
    """JSON has no NaN: undefined is null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
