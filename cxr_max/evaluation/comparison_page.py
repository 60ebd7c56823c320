"""A comparison as files: `table.md`, `table.csv`, `differences.csv`, `table.png`, `compare.json`; aggregates only."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max.drift.page.draw import INK, Figure, render, short, whiskers
from cxr_max.evaluation import published
from cxr_max.evaluation.comparing import Comparison
from cxr_max.evaluation.signatures import OF_ROW, counted
from cxr_max.folders import new_dir, output_dir, write_atomic

SCORE_COLUMNS = ("task", "subset", "score", "group", "run", "value", "low", "high", "n", "patients", "failed", "empty",
                 "overlap", "suppressed", "signature")  # fmt: skip
DIFFERENCE_COLUMNS = ("family", "task", "subset", "score", "group", "run", "baseline", "value", "low", "high", "p",
                      "p_adjusted", "detectable", "patients", "verdict", "signature")  # fmt: skip


def write(comparison: Comparison, out: Path, *, with_published: bool = False, overwrite: bool = False) -> None:
    """Write all files of a comparison into a folder.

    Raises:
        UsageError: the folder holds something and `overwrite` is not given.
        RestrictedDataError: data are not synthetic and the folder lies inside a git work tree.
    """
    new_dir(out, overwrite=overwrite)
    output_dir(out, synthetic=all(r["synthetic"] for r in comparison.runs))
    beside = published_for(comparison) if with_published else ()
    content = {**comparison.plain(), "published": [t._asdict() for t in beside]}
    write_atomic(out / "compare.json", json.dumps(content, indent=2) + "\n")
    write_atomic(out / "table.md", markdown(comparison, beside))
    write_atomic(out / "table.csv", _csv(SCORE_COLUMNS, score_rows(comparison)))
    write_atomic(out / "differences.csv", _csv(DIFFERENCE_COLUMNS, comparison.differences))
    picture = forest(comparison)
    if picture is not None:
        write_atomic(out / "table.png", render(picture, "png"))


def published_for(comparison: Comparison) -> tuple[published.PublishedTable, ...]:
    """The paper's tables near the tasks that were run."""
    return published.tables({b["task"] for b in comparison.blocks})


def score_rows(comparison: Comparison) -> Iterable[dict[str, Any]]:
    """One row a score, run and group."""
    for block in comparison.blocks:
        shared = {k: block[k] for k in ("task", "subset", "score")}
        for run, cells in block["rows"].items():
            for group, cell in cells.items():
                signature = block["signature"] if "suppressed" in cell else counted(block["signature"], cell)
                yield {**shared, "run": run, "group": group, **cell, "signature": signature}


def markdown(comparison: Comparison, beside: Sequence[published.PublishedTable] = ()) -> str:
    """The comparison as Markdown: a block a score and signature, the families of differences, what is published."""
    lines = [f"# {comparison.title}", ""]
    lines += [f"- {r['name']}: {r['model']}{'; ' + r['note'] if r['note'] else ''}" for r in comparison.runs]
    lines += [f"- WARNING: {text}" for text in comparison.warnings]
    lines += _overview(comparison)
    for block in comparison.blocks:
        lines += ["", f"## {block['score']}: {block['task']}, {block['subset']}", ""]
        lines += [
            "| run | " + " | ".join(map(str, block["groups"])) + " |",
            "| --- |" + " --- |" * len(block["groups"]),
        ]
        for run, cells in block["rows"].items():
            lines.append(f"| {run} | " + " | ".join(_cell(cells.get(g)) for g in block["groups"]) + " |")
        lines += ["", f"`{_signature(block)}`"]
    for family, about in comparison.families.items():
        lines += _family(comparison, family, about)
    lines += [f"\nNo paired difference: {u['run']} on {u['task']}: {u['reason']}." for u in comparison.unpaired]
    if any(c.get("overlap") for b in comparison.blocks for cells in b["rows"].values() for c in cells.values()):
        lines += ["", "\\* overlap of the model's training patients with the samples is not established."]
    if beside:
        lines += ["", published.markdown(beside)]
    return "\n".join(lines).rstrip() + "\n"


def _overview(comparison: Comparison) -> list[str]:
    """The headline scores of all runs: a line each, which holds numbers of one signature and of the same samples."""
    names = [r["name"] for r in comparison.runs]
    found: dict[tuple[str, ...], list[str]] = {}
    for task, score, group in comparison.headlines:
        for block in comparison.blocks:
            cells = block["rows"]
            if (block["task"], block["score"]) == (task, score) and any(group in mine for mine in cells.values()):
                numbers = (_cell(cells.get(n, {}).get(group)) for n in names)
                # Subsets of the same numbers, as where no patient was seen in training, share a line.
                found.setdefault((task, score, group, *numbers), []).append(block["subset"])
    if not found:
        return []
    head = "| " + " | ".join(("task", "score", "group", *names, "samples")) + " |"
    lines = ["| " + " | ".join((*about, " = ".join(subsets))) + " |" for about, subsets in found.items()]
    return ["", "## Headline scores", "", head, "| --- " * (4 + len(names)) + "|", *lines]


def _signature(block: dict[str, Any]) -> str:
    """The block's signature with its counts, where all its numbers share them."""
    cells = [c for mine in block["rows"].values() for c in mine.values()]
    if any("suppressed" in c for c in cells):
        return f"{block['signature']}|{OF_ROW}"
    whole = {counted(block["signature"], c) for c in cells}
    return whole.pop() if len(whole) == 1 else f"{block['signature']}|{OF_ROW}"


def _family(comparison: Comparison, family: str, about: dict[str, Any]) -> list[str]:
    mine = [d for d in comparison.differences if d["family"] == family]
    if not mine:
        return []
    how = {"holm": "Holm", "bh": "Benjamini-Hochberg"}[about["correction"]]
    head = f"## Differences, family {family}: {about['size']}, {how}"
    names = ("run minus baseline", "task", "score", "group", "difference", "95 % interval", "p", "adjusted p",
             "smallest detectable", "verdict")  # fmt: skip
    lines = ["", head, "", "| " + " | ".join(names) + " |", "| --- " * 4 + "| ---: | --- | ---: | ---: | ---: | --- |"]
    for d in mine:
        numbers = (number(d["p"]), number(d["p_adjusted"]), number(d["detectable"]))
        interval = f"{number(d['low'], signed=True)} to {number(d['high'], signed=True)}"
        named = (f"{d['run']} - {d['baseline']}", d["task"], d["score"], d["group"])
        cells = (*named, number(d["value"], signed=True), interval, *numbers, d["verdict"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if "suppressed" in cell:
        return str(cell["suppressed"])
    star = " \\*" if "overlap" in cell else ""
    lost = "".join(f", {cell[name]} {name}" for name in ("failed", "empty") if cell.get(name))
    interval = f"[{number(cell['low'])}, {number(cell['high'])}]"
    return f"{number(cell['value'])} {interval}, n {cell.get('n', 'not counted')}{lost}{star}"


def number(value: float | None, *, signed: bool = False) -> str:
    """Three decimals; `undefined` for NaN."""
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def forest(comparison: Comparison) -> Figure | None:
    """Every run's headline score with its interval, one panel a task; None when nothing is defined."""
    wanted = set(comparison.headlines)
    panels: list[tuple[str, dict[str, dict[str, Any]]]] = []
    drawn: list[Any] = []
    first: set[str] = set()
    for block in comparison.blocks:
        group = "mean" if "mean" in block["groups"] else block["groups"][0]
        key = (block["task"], block["score"], group)
        if key in wanted or (not wanted and block["task"] not in first):
            first.add(block["task"])
            cells = {run: c[group] for run, c in block["rows"].items() if group in c and "value" in c[group]}
            if (key, cells) not in drawn and any(not np.isnan(c["value"]) for c in cells.values()):
                drawn.append((key, cells))
                panels.append((f"{block['score']}, {block['task']}, {block['subset']} ({group})", cells))
    if not panels:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        heights = [len(cells) + 1 for _, cells in panels]
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (title, cells) in zip(axes, panels, strict=True):
            for y, cell in enumerate(cells.values()):
                low, high = (None if np.isnan(cell[k]) else cell[k] for k in ("low", "high"))
                ends = whiskers(low, high, cell["value"])
                ax.errorbar(cell["value"], y, xerr=[[ends[0]], [ends[1]]], fmt="o", color=INK, capsize=3)
            ax.set_yticks(range(len(cells)), [short(name) for name in cells])
            ax.set_ylim(len(cells) - 0.5, -0.5)
            ax.set_title(title, loc="left", fontsize=9)
        figure.suptitle(comparison.title, fontsize=10)

    height = 0.8 + sum(0.35 * len(cells) + 0.6 for _, cells in panels)
    return Figure("table", comparison.title, "Value and 95 % interval.", draw, (7, height), (4.4, height))


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(
        {k: "undefined" if isinstance(v, float) and math.isnan(v) else v for k, v in r.items()} for r in rows
    )
    return text.getvalue()
