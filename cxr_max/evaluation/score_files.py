"""The scores of a run as files: `scores.json`, `table.md`, `table.csv`, `table.png`; aggregates only."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max import __version__
from cxr_max.drift.page.draw import render
from cxr_max.evaluation.score_figure import picture
from cxr_max.evaluation.signatures import OF_ROW, comparable
from cxr_max.folders import write_atomic

COLUMNS = ("task", "score", "group", "subset", "value", "low", "high", "n", "patients", "failed", "empty", "read",
           "prevalence", "majority", "abstained", "signature")  # fmt: skip
ABOUT = ("prevalence", "majority", "abstained", "missing_findings", "missing_report")
"""What stands beside a number where it is known: no accuracy can be read without the majority's."""


def write(out: Path, rows: Sequence[dict[str, Any]], run_: dict[str, Any]) -> None:
    """Write all files of a graded run into its folder.

    Args:
        out: folder of the run.
        rows: one a score.
        run_: what the run was, see `running.described`.
    """
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
        blocks.setdefault((row["task"], row["subset"], comparable(row["signature"])), []).append(row)
    head = ("score", "group", "value", "95 % interval", "n", "patients", "failed", "empty", "about the samples")
    for (task, subset, how), mine in blocks.items():
        whole = {row["signature"] for row in mine}
        signature = whole.pop() if len(whole) == 1 else f"{how}|{OF_ROW}"
        missing = dict.fromkeys(str(v) for row in mine for k, v in row.items() if k.endswith("_not_available"))
        lines += [f"## {task}, {subset}", "", "| " + " | ".join(head) + " |"]
        lines += [
            "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
            *map(_line, mine),
            "",
            f"`{signature}`",
            "",
        ]
        lines += [line for text in missing for line in (text, "")]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if "suppressed" in row:
        return f"| {row['score']} | {row['group']} | {row['suppressed']} | | | | | | |"
    interval = f"{_text(row['low'])} to {_text(row['high'])}"
    counts = (row.get(name, "") for name in ("n", "patients", "failed", "empty"))
    about = ", ".join(f"{name} {_short(row[name])}" for name in ABOUT if row.get(name) is not None)
    cells = (row["score"], row["group"], _text(row["value"]), interval, *counts, about)
    return "| " + " | ".join(map(str, cells)) + " |"


def _short(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value


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
