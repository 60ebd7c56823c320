"""The gate: is a run worse than a stored one beyond the stored one's interval?

Only aggregates are read, so a stored `scores.json` is enough. Rows are matched by what lasts of their signatures
(`signatures.lasting`), and have to be about the same samples: a score over others proves nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr_max.errors import CheckFailedError
from cxr_max.evaluation.comparing import Run, stored_scores, subset_of
from cxr_max.evaluation.signatures import lasting

WORSE, MISSING, OTHER = "worse", "missing", "other samples"


def check(run: Run, stored: Path) -> list[dict[str, Any]]:
    """Each row of a stored run that has a direction, with what the new run has for it.

    Returns:
        Rows with task, score, group, value, stored, low, high, outcome: `worse` = outside the stored interval on the
        bad side, or undefined where the stored one is defined; `missing` = the new run has no such row; `other
        samples` = it has one over other ones (of a stored run of an earlier version, over another number); else `ok`.

    Raises:
        UsageError: `stored` holds no scores. CheckFailedError: not one row of it can be compared.
    """
    mine = {_key(r): r for r in run.rows}
    rows = []
    for old in stored_scores(stored)["scores"]:
        new = mine.get(_key(old))
        better = int((new or old).get("better", 1))
        if better and "suppressed" not in old and not np.isnan(old["value"]):
            value = float("nan") if new is None else float(new.get("value", float("nan")))
            about = {k: old[k] for k in ("task", "score", "group")} | {"subset": subset_of(old)}
            limits = {"stored": old["value"], "low": old["low"], "high": old["high"]}
            limits |= {"n": None if new is None else new.get("n"), "stored_n": old.get("n")}
            rows.append({"run": run.name, **about, "value": value, **limits, "outcome": _outcome(new, old, better)})
    if all(r["outcome"] == MISSING for r in rows):
        raise CheckFailedError(
            f"no row of {stored.name} has the signature of a row of {run.name}, so nothing can be compared",
            next="evaluate both with the same tasks, limit and settings: cxr-max eval ... --out DIR",
        )
    return rows


def check_all(runs: Sequence[Run], stored: Path) -> list[dict[str, Any]]:
    """`check` for every run of a comparison."""
    return [row for run in runs for row in check(run, stored)]


def enforce(rows: Sequence[dict[str, Any]]) -> None:
    """Let through rows that are all `ok`.

    Raises:
        CheckFailedError: a row is worse or missing; the first ones are named.
    """
    bad = [r for r in rows if r["outcome"] != "ok"]
    if bad:
        named = "; ".join(f"{r['run']}: {r['task']} {r['score']} {r['group']} " + _said(r) for r in bad[:5])
        raise CheckFailedError(
            f"{len(bad)} of {len(rows)} scores are worse than the stored run's, missing or over others: {named}"
        )


def _said(row: dict[str, Any]) -> str:
    if row["outcome"] == MISSING:
        return "is missing"
    if row["outcome"] == OTHER:
        other = " other" if row["n"] == row["stored_n"] else ""
        return f"is over {row['n']}{other} samples, stored {row['stored_n']}"
    return f"{row['value']:.4f}, stored {row['stored']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _outcome(new: dict[str, Any] | None, old: dict[str, Any], better: int) -> str:
    if new is None:
        return MISSING
    if new.get("n") != old.get("n") or ("samples" in old and new.get("samples") != old["samples"]):
        return OTHER
    value = float(new.get("value", float("nan")))
    limit = old["low"] if better > 0 else old["high"]
    if np.isnan(limit):
        # Too few patients for an interval: the value itself is the limit.
        limit = old["value"]
    return WORSE if np.isnan(value) or (limit - value) * better > 0 else "ok"


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return (row["task"], subset_of(row), row["score"], row["group"], lasting(row["signature"]))
