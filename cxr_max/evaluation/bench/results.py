"""One result file a job: everything a table needs of it, so that runs can be shared out over machines and days.

Per-sample statistics are kept with the patient they belong to, so intervals over seeds and patients need neither model
nor answers. Of data that are not synthetic such a file is restricted and lies in a restricted folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max.errors import DataError
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.intervals import Floats
from cxr_max.folders import write_atomic

FORMAT = 2
SIGNATURE = ("tool", "recipe", "design", "release", "tasks", "measured", "fraction", "teachers", "synthetic")
"""The parts of a signature, in their order; the last only where the data are."""
NAMES = ("task", "metric", "group", "profile")


@dataclass(frozen=True)
class Stored:
    """One measure as it was graded.

    Attributes:
        task: name of the task.
        metric: name of the metric.
        group: finding, or all.
        profile: variant, such as the extractor.
        stats: float64 [S, K].
        patients: of each sample.
    """

    task: str
    metric: str
    group: str
    profile: str
    stats: Floats
    patients: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What one job gave.

    Attributes:
        row, sentence, seed, fraction: which job.
        signature: everything two results must share to stand in one table.
        measures: statistics on the test split.
        costs: of each stage: name, steps, trunk_tokens, flop, wall_s, peak_memory_bytes.
        setting: what was chosen on validate, as printed.
        tried: settings tried on validate, with their mean score; None = undefined.
        marks: `same-extractor` and the like.
        not_run: why there is no result; then there are no measures.
        about: recipe, release, commit, versions, machine, date, whether synthetic and whether undertrained.
    """

    row: str
    sentence: str
    seed: int
    fraction: float
    signature: str
    measures: tuple[Stored, ...] = ()
    costs: tuple[Mapping[str, Any], ...] = ()
    setting: str = ""
    tried: Mapping[str, float | None] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    not_run: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def cost(self, name: str) -> float:
        """A cost summed over the stages, the largest for memory; NaN when nothing was trained here."""
        values = [float(c[name]) for c in self.costs if name in c]
        if not values:
            return float("nan")
        return max(values) if name == "peak_memory_bytes" else sum(values)


def apart_from_measures(signature: str) -> list[str]:
    """The parts of a signature but the one that says what was measured."""
    at = SIGNATURE.index("measured")
    parts = signature.split("|")
    return parts[:at] + parts[at + 1 :]


def same_apart_from_measures(one: str, other: str) -> bool:
    """Whether two signatures agree in everything but what was measured."""
    return apart_from_measures(one) == apart_from_measures(other)


def measures_of(scored: Sequence[Scored]) -> tuple[Stored, ...]:
    """The measures behind a run's scores, each once, on all its samples."""
    found: dict[tuple[str, str, str], Stored] = {}
    for one in scored:
        if one.row["subset"].startswith("all"):
            for m in one.measures:
                stats = np.asarray(m.stats, dtype=np.float64)
                name = str(one.row["task"])
                kept = Stored(name, m.metric, m.group, m.profile, stats, m.patients)
                found.setdefault((name, m.metric, m.group), kept)
    return tuple(found.values())


def write(result: Result, path: Path) -> None:
    """Write one file; a kill leaves none or a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patients = sorted({p for m in result.measures for p in m.patients})
    at = {p: i for i, p in enumerate(patients)}
    content = {
        "format": FORMAT,
        "what": f"cxr-max benchmark{' (synthetic)' if result.about.get('synthetic') else ''}: one row, one seed",
        **{k: v for k, v in vars(result).items() if k != "measures"},
        "patients": patients,
        "measures": [
            {**{k: getattr(m, k) for k in NAMES}, "patients": [at[p] for p in m.patients],
             "stats": [[_short(x) for x in row] for row in m.stats.tolist()]}
            for m in result.measures
        ],
    }  # fmt: skip
    write_atomic(path, json.dumps(content, default=dict, allow_nan=False, separators=(",", ":")) + "\n")


def _short(x: float) -> float:
    return int(x) if x == int(x) else x


def read(path: Path) -> Result:
    """A result from its file.

    Raises:
        DataError: the file is none, or of another format.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise DataError(f"{path.name} has format {raw['format']}; this version reads {FORMAT}")
        patients = raw["patients"]
        measures = tuple(_stored(m, patients) for m in raw["measures"])
        plain = {k: raw[k] for k in Result.__dataclass_fields__ if k not in ("measures", "costs", "marks")}
        found = Result(**plain, measures=measures, costs=tuple(raw["costs"]), marks=tuple(raw["marks"]))
        _check(found)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"{path.name} is no result of the benchmark", next="move it away and run its job again") from e
    return found


def _stored(raw: Mapping[str, Any], patients: Sequence[str]) -> Stored:
    at, stats = raw["patients"], _matrix(raw["stats"])
    if len(at) != len(stats) or any(not 0 <= i < len(patients) for i in at):
        raise ValueError("samples and patients do not fit together")
    task, metric, group, profile = (str(raw[k]) for k in NAMES)
    return Stored(task, metric, group, profile, stats, tuple(str(patients[i]) for i in at))


def _check(found: Result) -> None:
    kinds = {
        str: (found.row, found.sentence, found.signature, found.setting, found.not_run, *found.marks),
        int: (found.seed,),
        float: (float(found.fraction), *(float(v) for c in found.costs for k, v in c.items() if k != "stage")),
        dict: (found.tried, found.about, *found.costs),
    }
    if not all(isinstance(v, kind) for kind, values in kinds.items() for v in values):
        raise TypeError("a field of another kind")
    if not found.row or bool(found.measures) == bool(found.not_run):
        raise ValueError("neither measured nor not run")


def _matrix(rows: Sequence[Sequence[float]]) -> Floats:
    found = np.array(rows, dtype=np.float64)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError("statistics are no finite matrix")
    return found


def read_all(folder: Path) -> list[Result]:
    """All results of a folder, sorted by file name."""
    return [read(p) for p in sorted(folder.glob("*.json"))]
