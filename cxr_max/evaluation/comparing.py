"""Compare evaluation runs: scores with intervals side by side, paired differences, correction inside declared families.

Two families are declared before anything is computed. `headline`: the scores a task names (`HEADLINE`; else the first
it reports) on the mean over groups, or those asked for, corrected by Holm. `others`: every other difference, by
Benjamini-Hochberg. Rows whose signatures differ, apart from their counts, never stand in one column; nor do rows over
different numbers of samples, and a warning says so.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max.drift.multiplicity import adjust
from cxr_max.errors import CxrMaxError, DataError, UnknownNameError, UsageError
from cxr_max.evaluation import grading, running, tasks
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.paired import difference
from cxr_max.evaluation.signatures import comparable

OVERLAP_UNKNOWN = "all (overlap not established)"
CORRECTIONS = {"headline": "holm", "others": "bh"}
ALPHA = 0.05


@dataclass(frozen=True)
class CompareConfig:
    """What to compare.

    Attributes:
        runs: folders of runs.
        baseline: name of the run the others are compared with; empty = the first.
        scores: headline scores; empty = those each task names, or the first it reports.
        draws: of bootstrap and randomisation.
        seed: of both.
    """

    runs: tuple[Path, ...]
    baseline: str = ""
    scores: tuple[str, ...] = ()
    draws: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """One run: what it is called, its rows, and its scores with draws when its data are at hand."""

    name: str
    model: str
    synthetic: bool
    rows: tuple[dict[str, Any], ...]
    scored: tuple[Scored, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """What came out, in plain values; NaN = undefined.

    Attributes:
        runs: name, model, synthetic and a note for each run.
        blocks: one table each: task, subset, score, signature, groups, and cells by run and group.
        headlines: task, score and group of the headline family.
        warnings: what keeps runs out of one column though their signatures are the same.
        differences: run minus baseline: value, low, high, p, p_adjusted, detectable, family, verdict.
        families: name to size and correction.
        unpaired: run, task and why it has no paired difference.
        synthetic: whether any run is on synthetic data.
        title: of tables and figures.
        loaded: the runs as they were read, for the gate.
    """

    runs: tuple[dict[str, Any], ...]
    blocks: tuple[dict[str, Any], ...]
    differences: tuple[dict[str, Any], ...]
    families: dict[str, dict[str, Any]]
    unpaired: tuple[dict[str, str], ...]
    synthetic: bool
    title: str = ""
    headlines: tuple[tuple[str, str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    loaded: tuple[Run, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Everything as JSON has it: undefined is null."""
        content: dict[str, Any] = grading.finite({k: v for k, v in vars(self).items() if k != "loaded"})
        return content


def compare(config: CompareConfig) -> Comparison:
    """Compare runs.

    Raises:
        UsageError: no run, a folder without one, or the same folder twice.
        UnknownNameError: a baseline that is none of the runs.
    """
    runs = load(config)
    names = [r.name for r in runs]
    baseline = config.baseline or names[0]
    if baseline not in names:
        raise UnknownNameError.of("run", baseline, names)
    synthetic = any(r.synthetic for r in runs)
    headlines = _headlines(next(r for r in runs if r.name == baseline), config.scores)
    differences, unpaired = _differences(runs, baseline, headlines, config)
    blocks, warnings = _blocks(runs)
    return Comparison(
        runs=tuple({"name": r.name, "model": r.model, "synthetic": r.synthetic, "note": r.note} for r in runs),
        blocks=tuple(blocks),
        headlines=tuple(headlines),
        warnings=tuple(warnings),
        differences=tuple(_corrected(differences)),
        families={
            name: {"size": sum(d["family"] == name for d in differences), "correction": correction}
            for name, correction in CORRECTIONS.items()
        },
        unpaired=tuple(unpaired),
        synthetic=synthetic,
        title=f"Comparison of {len(runs)} run{'s' * (len(runs) > 1)}{' on synthetic data' if synthetic else ''}",
        loaded=tuple(runs),
    )


def load(config: CompareConfig) -> list[Run]:
    """The runs of a comparison, in order; errors as `compare`."""
    return [_load(path, name, config) for path, name in zip(config.runs, _names(config.runs), strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents in front as it takes to tell them apart."""
    if not paths:
        raise UsageError("no run is named", next="cxr-max compare DIR..., with folders of cxr-max eval")
    whole = [p.resolve() for p in paths]
    if len(set(whole)) < len(whole):
        raise UsageError("a run was named twice")
    depth = 1
    while len({p.parts[-depth:] for p in whole}) < len(whole):
        depth += 1
    return ["/".join(p.parts[-depth:]) for p in whole]


def _load(path: Path, name: str, config: CompareConfig) -> Run:
    try:
        scored = grading.scored(path, grading.as_graded(path, draws=config.draws, seed=config.seed))
        run_ = running.described(path)
        return Run(name, run_["model"]["name"], run_["synthetic"], tuple(s.row for s in scored), tuple(scored))
    except CxrMaxError as e:
        if not (path / "scores.json").is_file():
            raise
        stored = stored_scores(path)
        note = f"stored scores only, no paired differences: {e.problem}"
        return Run(name, stored["model"]["name"], stored["synthetic"], tuple(stored["scores"]), (), note)


def stored_scores(path: Path) -> dict[str, Any]:
    """`scores.json` of a run, or the file itself, with undefined values as NaN.

    Raises:
        UsageError: there is none. DataError: it is not one.
    """
    file = path if path.is_file() else path / "scores.json"
    if not file.is_file():
        raise UsageError(f"{path} holds no scores.json", next="cxr-max eval ... --out DIR, or cxr-max grade DIR")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if "tables" in content:
            raise UsageError(
                f"{path} holds a benchmark, which compares its rows itself, in table.md",
                next=f"its runs are {file.parent / 'runs' / '*' / 'eval'}",
            )
        for row in content["scores"]:
            for key in ("value", "low", "high") if "suppressed" not in row else ():
                row[key] = float("nan") if row[key] is None else row[key] + 0.0
            _ = (row["task"], row["score"], row["group"], row["subset"], row["signature"])
        _ = (content["model"]["name"], content["synthetic"])
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{file.name} is no result of an evaluation run", next="cxr-max grade DIR writes it") from e
    return content


def subset_of(row: dict[str, Any]) -> str:
    """The samples a row is about: an unknown overlap is a remark on the model, not other samples."""
    return "all" if row["subset"] == OVERLAP_UNKNOWN else str(row["subset"])


def _blocks(runs: Sequence[Run]) -> tuple[list[dict[str, Any]], list[str]]:
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        mine: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
        for row in run.rows:
            key = (row["task"], subset_of(row), row["score"], comparable(row["signature"]))
            shown = ("value", "low", "high", "n", "patients", "failed", "empty", "suppressed")
            cell: dict[str, Any] = {k: row[k] for k in shown if k in row}
            if row["subset"] == OVERLAP_UNKNOWN:
                cell["overlap"] = "not established"
            mine.setdefault(key, {})[row["group"]] = cell
        for where, cells in mine.items():
            blocks = found.setdefault(where, [])
            block = next((b for b in blocks if _same_samples(b, cells)), None)
            if block is None:
                names = ("task", "subset", "score", "signature")
                block = {**dict(zip(names, where, strict=True)), "groups": [], "rows": {}}
                blocks.append(block)
            block["groups"] += [g for g in cells if g not in block["groups"]]
            block["rows"][run.name] = cells
    parted = dict.fromkeys(
        f"{task}, {subset}: different numbers of samples, so not in one column: " + "; ".join(map(_counted, blocks))
        for (task, subset, *_), blocks in found.items()
        if len(blocks) > 1
    )
    return [b for blocks in found.values() for b in blocks], list(parted)


def _same_samples(block: dict[str, Any], cells: dict[str, dict[str, Any]]) -> bool:
    """Whether every group that both have is about as many samples; what is suppressed does not say how many."""
    return all(
        cells[g]["n"] == cell["n"]
        for theirs in block["rows"].values()
        for g, cell in theirs.items()
        if g in cells and "n" in cell and "n" in cells[g] and not {"suppressed"} & {*cell, *cells[g]}
    )


def _counted(block: dict[str, Any]) -> str:
    """The runs of a block with the number of samples of the group that stands for it."""
    group = "mean" if "mean" in block["groups"] else block["groups"][0]
    n = next(cells[group].get("n", "unknown") for cells in block["rows"].values() if group in cells)
    return f"{', '.join(block['rows'])} (n {n})"


def _differences(
    runs: Sequence[Run], baseline: str, headlines: Collection[tuple[str, str, str]], config: CompareConfig
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    base = next(r for r in runs if r.name == baseline)
    known = {_key(s): s for s in base.scored}
    found: list[dict[str, Any]] = []
    unpaired: dict[tuple[str, str], str] = {}
    tested: set[tuple[Any, ...]] = set()
    for run in runs:
        for scored in run.scored if run.name != baseline else ():
            row, other = scored.row, known.get(_key(scored))
            asked = (run.name, row["task"], row["score"], row["group"], scored.samples)
            # Where no patient was seen in training, both subsets are the same samples: one hypothesis, not two.
            if not row.get("better") or "suppressed" in row or asked in tested:
                continue
            tested.add(asked)
            if other is None:
                unpaired[(run.name, row["task"])] = f"{baseline} has no row with the same signature"
                continue
            try:
                d = difference(scored, other, draws=config.draws, seed=config.seed)
            except DataError as e:
                unpaired[(run.name, row["task"])] = e.problem
                continue
            family = "headline" if (row["task"], row["score"], row["group"]) in headlines else "others"
            about = {k: row[k] for k in ("task", "score", "group", "signature", "better")}
            found.append({**about, "subset": subset_of(row), "run": run.name, "baseline": baseline, "family": family,
                          **d._asdict()})  # fmt: skip
    return found, [{"run": r, "task": t, "reason": why} for (r, t), why in unpaired.items()]


def _key(scored: Scored) -> tuple[str, ...]:
    row = scored.row
    return (row["task"], subset_of(row), row["score"], row["group"], comparable(row["signature"]))


def _headlines(base: Run, wanted: Sequence[str]) -> list[tuple[str, str, str]]:
    """Task, score and group of the headline family: declared by names alone, before a difference is looked at.

    Raises:
        UnknownNameError: no task of the baseline has a score of a wanted name.
    """
    known = sorted({s.row["score"] for s in base.scored if s.row.get("better")})
    for name in wanted:
        if name not in known:
            raise UnknownNameError.of("score", name, known)
    found: dict[tuple[str, str], list[str]] = {}
    for scored in base.scored:
        row = scored.row
        if row.get("better") and (not wanted or row["score"] in wanted):
            found.setdefault((row["task"], row["score"]), []).append(row["group"])
    named: dict[str, tuple[str, ...]] = {}
    for task, score in found:
        named.setdefault(task, tuple(getattr(tasks.get(task), "HEADLINE", (score,))))
    return [
        (task, score, "mean" if "mean" in groups else groups[0])
        for (task, score), groups in found.items()
        if wanted or score in named[task]
    ]


def _corrected(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences with adjusted p-values inside their family, and what they decide."""
    for family, correction in CORRECTIONS.items():
        mine = [d for d in differences if d["family"] == family]
        adjusted = adjust([d["p"] for d in mine], "holm" if correction == "holm" else "bh")
        for d, p in zip(mine, adjusted, strict=True):
            d["p_adjusted"] = float(p)
            d["verdict"] = verdict(d["value"] * d["better"], float(p))
    return sorted(differences, key=lambda d: d["family"])


def verdict(gain: float, p_adjusted: float) -> str:
    """`better`, `worse` or `undecided` at .05, from a difference whose sign is such that more is better."""
    if np.isnan(p_adjusted) or np.isnan(gain) or p_adjusted >= ALPHA or gain == 0:
        return "undecided"
    return "better" if gain > 0 else "worse"
