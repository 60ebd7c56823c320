"""From result files to the tables: endpoints, verdicts, costs; `scores.json`, `table.md`, `table.csv`, `table.png`.

The family is declared before the runs: every row asked for against the baseline and every contrast of the design, on
both endpoints, Holm. What has no result yet counts in it, so that a look at half of the runs gains nothing.
Results with different signatures stand in different tables.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max.drift.multiplicity import adjust
from cxr_max.drift.page.draw import INK, Figure, render, short, whiskers
from cxr_max.errors import DataError
from cxr_max.evaluation.bench import statistics
from cxr_max.evaluation.bench.config import Design, Endpoint
from cxr_max.evaluation.bench.results import Result, same_apart_from_measures
from cxr_max.evaluation.bench.stages import ONE_CHECKPOINT
from cxr_max.evaluation.bench.statistics import Draws, Score
from cxr_max.evaluation.comparing import verdict
from cxr_max.evaluation.comparison_page import number
from cxr_max.evaluation.grading import FEW_PATIENTS, finite
from cxr_max.folders import is_restricted, write_atomic

COSTS = ("trunk_tokens", "flop", "wall_s", "peak_memory_bytes")
BESIDE = (("precision", "all"), ("recall", "all"), ("words", "all"), ("claims", "all"), ("abstention", "mean"))
MATCHED = "precision at equal lengths"
COLUMNS = ("table", "row", "quantity", "value", "low", "high", "seeds", "setting", "marks")
ONE_SEED = "One seed: intervals and verdicts hold for these checkpoints and say nothing about training again."
ASKED_ALIKE = "One checkpoint: asked once a seed; how training it again would vary stands in no interval."
DETECTABLE = "Smallest detectable: by one test at .05 with a power of .8; inside the family it takes more."
SHORT = 0.95
"""Share of the costliest row's operations below which a row of budget `longest` is marked."""
ELSEWHERE = "settings of another run"
CHOSEN_ELSEWHERE = "Settings of another run: chosen on validate of that run's release; no trials were made here."
UNDERTRAINED = "Undertrained, shows the pipeline only."


def summarise(
    results: Sequence[Result], design: Design, *, declared: Sequence[str] = (), draws: int = 2000
) -> list[dict[str, Any]]:
    """One table a signature, as plain values: rows with estimates and costs, and the family of differences.

    Args:
        results: what there is.
        design: the recipe's.
        declared: names of the rows that were asked for; those with results are added.
        draws: of the bootstrap.

    Raises:
        DataError: a row stands there twice at one seed, or with two definitions.
    """
    order = {name: i for i, name in enumerate(design.rows)}
    measured = list(dict.fromkeys(r.signature for r in results if r.measures))
    home = {m: [r for r in results if r.measures and r.signature == m] for m in measured}
    for r in (r for r in results if not r.measures):
        # A row that was not run measured nothing, so all but what was measured must agree.
        at = next((m for m in measured if same_apart_from_measures(m, r.signature)), r.signature)
        home.setdefault(at, []).append(r)
    for mine in home.values():
        _check_once(mine)
        mine.sort(key=lambda r: (order.get(r.row, len(order)), r.row, r.seed))
    return [_table(mine, design, signature, declared, draws) for signature, mine in home.items()]


def _table(
    results: list[Result], design: Design, signature: str, declared: Sequence[str], draws: int
) -> dict[str, Any]:
    done = [r for r in results if r.measures]
    about = dict((done or results)[0].about)
    undertrained = bool(about.get("undertrained"))
    table: dict[str, Any] = {
        "title": _title(about, (done or results)[0].fraction),
        "signature": signature,
        "synthetic": bool(about.get("synthetic")),
        "undertrained": undertrained,
        "endpoints": [design.primary.title, design.second.title],
        "about": about,
        "rows": [],
        "differences": [],
    }
    drawn = statistics.draws_of(done, draws=draws) if done else None
    few = FEW_PATIENTS if is_restricted(table["synthetic"] and not any(r.about.get("saw_real") for r in results)) else 0
    if drawn and len(drawn.patients) < few:
        table["suppressed"], drawn = f"Fewer than {FEW_PATIENTS} patients: nothing is shown.", None
    matched = statistics.length_matched(done, drawn.patients) if drawn else {}
    for name in dict.fromkeys(r.row for r in results):
        mine = [r for r in results if r.row == name]
        table["rows"].append(_row(mine, design, drawn, few, {k[1]: s for k, s in matched.items() if k[0] == name}))
    _mark_short(table["rows"], results)
    if drawn:
        table["patients"] = len(drawn.patients)
        asked = dict.fromkeys((*declared, *(r.row for r in done)))
        family = [n for n in asked if n not in {r["row"] for r in table["rows"] if r["not_run"]}]
        table["differences"], table["family"] = _differences(done, design, drawn, family, few)
    return table


def _check_once(results: Sequence[Result]) -> None:
    """A mean over seeds is one of a row that is the same at every seed, each seed counted once."""
    seen: set[tuple[str, int]] = set()
    what: dict[str, Any] = {}
    for r in results:
        if (r.row, r.seed) in seen:
            raise DataError(f"row {r.row} has two results at seed {r.seed}", next="move one of the files away")
        seen.add((r.row, r.seed))
        if what.setdefault(r.row, r.about.get("definition")) != r.about.get("definition"):
            raise DataError(
                f"results of row {r.row} are of two definitions of it, or of an earlier version",
                next="choose another --out, or another name for the row",
            )


def _mark_short(rows: Sequence[dict[str, Any]], results: Sequence[Result]) -> None:
    """Mark a row that was to be trained as long as the costliest when a costlier one came later."""
    costs = {(r.row, r.seed): r.cost("flop") for r in results if r.measures and not np.isnan(r.cost("flop"))}
    for row in rows:
        if row["budget"] == "longest":
            seeds = [s for s in row["seeds"] if (row["row"], s) in costs]
            most = {s: max(c for (_, seed), c in costs.items() if seed == s) for s in seeds}
            if any(costs[row["row"], s] < SHORT * most[s] for s in seeds):
                row["marks"].append("shorter than the costliest row")


def _title(about: Mapping[str, Any], fraction: float) -> str:
    part = "" if fraction == 1 else f", {fraction:g} of the training patients"
    synthetic = " on synthetic data" if about.get("synthetic") else ""
    undertrained = ": undertrained" if about.get("undertrained") else ""
    return f"Benchmark{synthetic}, recipe {about.get('recipe', '?')}{part}{undertrained}"


def _row(
    results: list[Result], design: Design, draws: Draws | None, few: int, matched: Mapping[int, Score]
) -> dict[str, Any]:
    """One row; a score over fewer than `few` patients is left out."""
    done = [r for r in results if r.measures]
    first = (done or results)[0]
    row: dict[str, Any] = {
        "row": first.row,
        "sentence": first.sentence,
        "seeds": [r.seed for r in done],
        "setting": first.setting,
        "tried": dict(first.tried),
        "marks": _marks(results),
        "not_run": first.not_run,
        "budget": first.about.get("budget", "once"),
        # The median, since the process of one seed also makes the trials and the checkpoints that rows share.
        "costs": {c: float(np.median([r.cost(c) for r in done])) if done else float("nan") for c in COSTS},
        "estimates": {},
    }
    if draws is None or not done:
        return row
    beside = [Endpoint(task, s, g, s) for s, g in BESIDE for task in design.tasks]
    for end in (design.primary, design.second, *beside):
        if end.title not in row["estimates"] and all(_patients(r, end) >= max(few, 1) for r in done):
            row["estimates"][end.title] = _estimate(done, end, draws)
    if matched:
        row["estimates"][MATCHED] = statistics.estimate(matched, draws, rate=True)._asdict()
    for group in dict.fromkeys(m.group for m in statistics.measures_for(done[0], design.primary)):
        end = replace(design.primary, group=group)
        if min(_patients(r, end) for r in done) < few:
            continue
        row["estimates"][f"{end.score}: {group}"] = _estimate(done, end, draws)
    return row


def _patients(result: Result, end: Endpoint) -> int:
    """Of the smallest group a score is made of, since a mean and the other groups tell it; 0 without one."""
    return min((len(set(m.patients)) for m in statistics.measures_for(result, end)), default=0)


def _marks(results: Sequence[Result]) -> list[str]:
    done = [r for r in results if r.measures]
    marks = list(dict.fromkeys(m for r in results for m in r.marks))
    if done and len(done) < len(results):
        marks.append(f"{len(results) - len(done)} of {len(results)} seeds diverged")
    if done and done[0].about.get("settings") == "of another run":
        marks.append(ELSEWHERE)
    return marks


def _estimate(done: Sequence[Result], end: Endpoint, draws: Draws) -> dict[str, Any]:
    by_seed = {r.seed: statistics.score_of(r, end, draws.patients) for r in done}
    rate = statistics.metric_of(done[0], end).is_rate(end.score)
    return statistics.estimate(by_seed, draws, rate=rate)._asdict()


def _differences(
    results: Sequence[Result], design: Design, draws: Draws, declared: Sequence[str], few: int
) -> tuple[list[dict[str, Any]], int]:
    """The differences there are, and the size of the family they were corrected in."""
    wanted = [(n, design.baseline) for n in declared if n != design.baseline and design.baseline in declared]
    wanted += [(a, b) for a, b in design.contrasts if a in declared and b in declared and (a, b) not in wanted]
    names = {r.row for r in results}
    pairs = [pair for pair in wanted if names.issuperset(pair)]
    found: list[dict[str, Any]] = []
    gains: list[float] = []
    shown = (e for e in (design.primary, design.second) if all(_patients(r, e) >= few for r in results))
    for endpoint in shown:
        for one, other in pairs:
            first, second = (
                {r.seed: statistics.score_of(r, endpoint, draws.patients) for r in results if r.row == name}
                for name in (one, other)
            )  # fmt: skip
            c = statistics.contrast(first, second, draws)
            found.append({"endpoint": endpoint.title, "row": one, "other": other, **c._asdict()})
            metric = statistics.metric_of(next(r for r in results if r.row == one), endpoint)
            gains.append(metric.better(endpoint.score) * c.value)
    size = 2 * len(wanted)
    # What is not run yet or undefined counts as what nobody would reject.
    p_values = [1.0 if np.isnan(d["p"]) else d["p"] for d in found] + [1.0] * (size - len(found))
    for d, gain, p in zip(found, gains, adjust(p_values, "holm"), strict=False):
        d["p_adjusted"] = float("nan") if np.isnan(d["p"]) else float(p)
        d["verdict"] = verdict(gain, d["p_adjusted"])
    return found, size


def write(tables: Sequence[dict[str, Any]], out: Path) -> None:
    """Write `scores.json`, `table.md`, `table.csv` and `table.png` into a folder."""
    write_atomic(out / "scores.json", json.dumps(finite({"tables": list(tables)}), indent=2, default=str) + "\n")
    write_atomic(out / "table.md", "\n".join(map(markdown, tables)))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(row for t in tables for row in _cells(t))
    write_atomic(out / "table.csv", text.getvalue())
    figure = forest(tables)
    if figure is not None:
        write_atomic(out / "table.png", render(figure, "png"))


def _cells(table: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for r in table["rows"]:
        shared = {"table": table["title"], "row": r["row"], "setting": r["setting"], "marks": " ".join(r["marks"])}
        costs = {c: {"value": v, "seeds": len(r["seeds"])} for c, v in r["costs"].items()}
        for quantity, e in {**r["estimates"], **costs}.items():
            rows.append({**shared, "quantity": quantity, **finite(e)})
    return rows


def markdown(table: dict[str, Any]) -> str:
    """One table as Markdown."""
    lines = [f"# {table['title']}", ""]
    lines += [f"**{UNDERTRAINED}**", ""] if table["undertrained"] else []
    first, second = table["endpoints"]
    lines += [f"Fixed before the runs: primary endpoint {first}; second {second}.", ""]
    fixed = table["about"].get("difficulty")
    lines += ["Difficulty: " + ", ".join(f"{k} {v}" for k, v in fixed.items()) + ".", ""] if fixed else []
    columns = [first, second, "precision", MATCHED, "recall", "words", "abstention"]
    where = "row (synthetic data)" if table["synthetic"] else "row"
    head = [where, "seeds", *columns, "tokens", "FLOP", "seconds", "peak MiB", "chosen on validate"]
    lines += [table["suppressed"], ""] if "suppressed" in table else []
    lines += ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join(_line(r, columns)) + " |" for r in table["rows"]]
    lines += ["", *(f"- {r['row']}: {r['sentence']}" for r in table["rows"])]
    lines += _verdicts(table)
    if any(r["seeds"] and len(r["seeds"]) == 1 for r in table["rows"]):
        lines += ["", ONE_SEED]
    said = {ONE_CHECKPOINT: ASKED_ALIKE, ELSEWHERE: CHOSEN_ELSEWHERE}
    lines += [
        line for mark, text in said.items() if any(mark in r["marks"] for r in table["rows"]) for line in ("", text)
    ]
    return "\n".join([*lines, "", f"`{table['signature']}`", ""])


def _line(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    name = row["row"] + "".join(f" ({m})" for m in row["marks"])
    if row["not_run"]:
        return [name, "not run", row["not_run"], *[""] * (len(columns) + 4)]
    cells = []
    for column in columns:
        e = row["estimates"].get(column)
        digits = (lambda x: f"{x:.0f}") if column == "words" else number
        cells.append("" if e is None else f"{digits(e['value'])} [{digits(e['low'])}, {digits(e['high'])}]")
    c = row["costs"]
    costs = [
        f"{c['trunk_tokens']:.3g}",
        f"{c['flop']:.3g}",
        f"{c['wall_s']:.0f}",
        f"{c['peak_memory_bytes'] / 2**20:.0f}",
    ]
    return [name, str(len(row["seeds"])), *cells, *("-" if x == "nan" else x for x in costs), row["setting"] or "-"]


def _verdicts(table: dict[str, Any]) -> list[str]:
    if not table["differences"]:
        return []
    n, size = len(table["differences"]), table["family"]
    done = "" if n == size else f", {n} of them done"
    lines = ["", f"## Differences: one family of {size}{done}, Holm; {table['patients']} patients", ""]
    columns = "row minus other, endpoint, difference, 95 % interval, p, adjusted p, smallest detectable, verdict"
    lines += ["| " + columns.replace(", ", " | ") + " |"]
    lines += ["| --- | --- | ---: | --- | ---: | ---: | ---: | --- |"]
    for d in table["differences"]:
        interval = f"{number(d['low'], signed=True)} to {number(d['high'], signed=True)}"
        numbers = (number(d["p"]), number(d["p_adjusted"]), number(d["detectable"]))
        cells = (f"{d['row']} - {d['other']}", d["endpoint"], number(d["value"], signed=True), interval, *numbers)
        lines.append("| " + " | ".join((*cells, d["verdict"])) + " |")
    return [*lines, "", DETECTABLE]


def forest(tables: Sequence[dict[str, Any]]) -> Figure | None:
    """The primary endpoint of every row with its interval, a panel a table; None when there is nothing."""
    panels = []
    for table in tables:
        found = {r["row"]: r["estimates"].get(table["endpoints"][0]) for r in table["rows"]}
        defined = {k: e for k, e in found.items() if e is not None and not np.isnan(e["value"])}
        if defined:
            panels.append((table, defined))
    if not panels:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for ax, (table, found) in zip(axes, panels, strict=True):
            for y, e in enumerate(found.values()):
                low, high = (None if np.isnan(e[k]) else e[k] for k in ("low", "high"))
                below, above = whiskers(low, high, e["value"])
                ax.errorbar(e["value"], y, xerr=[[below], [above]], fmt="o", color=INK, capsize=3)
            ax.set_yticks(range(len(found)), [short(n) for n in found])
            ax.set_ylim(len(found) - 0.5, -0.5)
            ax.set_xlabel(table["endpoints"][0])
            ax.set_title(table["title"], loc="left", fontsize=9)

    height = sum(1.2 + 0.35 * len(found) for _, found in panels)
    return Figure("table", panels[0][0]["title"], "Value and 95 % interval.", draw, (7, height), (4.4, height))
