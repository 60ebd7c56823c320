"""Reading a report's plain data: the same for a report just made and for a `report.json` read back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cxr_max.drift.published import figure_1a
from cxr_max.teachers import display_name, find_teacher

Curve = tuple[Any, Any, Any, Any]
NUMBERS = ("value", "low", "high")


class Cell(NamedTuple):
    """A value with its interval and counts; None = undefined or suppressed."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None
    n_undefined: int | None
    suppressed: str


class Data:
    """A report's plain data, indexed for figures and tables."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.plain = plain
        self.about: Mapping[str, Any] = plain["about"]
        self.synthetic = bool(self.about["synthetic"])
        self.teachers: list[str] = list(self.about["selection"]["teachers"])
        methods = self.about["methods"]
        self._setting = {k: methods[k] for k in ("section", "level", "unc", "mode")}
        self._cells = {(r["teacher"], r["metric"], r["averaging"]): cell(r) for r in self.headline_rows()}
        self._published = {} if self.synthetic else {p.teacher: p for p in figure_1a()}

    @staticmethod
    def display(teacher: str) -> str:
        """What a teacher is called in figures and tables."""
        return display_name(teacher)

    def headline_rows(self) -> list[dict[str, Any]]:
        """Rows per teacher over all findings, at the report's own setting, without subgroups."""
        return [
            r for r in self.plain["teachers"]
            if r["by"] is None and r["finding"] == "all" and all(r[k] == v for k, v in self._setting.items())
        ]  # fmt: skip

    def cell(self, teacher: str, name: str) -> Cell | None:
        """A figure of a teacher, named "metric" (macro) or "metric/micro"."""
        metric, _, averaging = name.partition("/")
        return self._cells.get((teacher, metric, averaging or "macro"))

    def published(self, teacher: str, metric: str) -> float | None:
        """The value the paper's chart shows, for its own teachers on real data."""
        known = find_teacher(teacher)
        row = self._published.get(known.id if known else teacher)
        return None if row is None else float(getattr(row, metric.partition("_")[0]))

    def pair_matrix(self, metric: str) -> Any | None:
        """Values of a figure of pairs as a symmetric matrix in the order of `teachers`, diagonal 0; None without."""
        at = {t: i for i, t in enumerate(self.teachers)}
        matrix = np.full((len(at), len(at)), np.nan)
        np.fill_diagonal(matrix, 0.0)
        for row in self.plain["pairs"]:
            i, j = at.get(row["teacher_a"]), at.get(row["teacher_b"])
            if row["metric"] == metric and row["finding"] == "all" and i is not None and j is not None:
                matrix[i, j] = matrix[j, i] = np.nan if row["value"] is None else row["value"]
        return None if np.isnan(matrix).sum() == len(at) * (len(at) - 1) else matrix

    def curve(self, view: str, series: str, teacher: str = "all") -> Curve | None:
        """Bins, values and interval of a curve; None where there is none."""
        rows = [
            r for r in self.plain["steps"] if (r["view"], r["series"], r["teacher"]) == (view, series, teacher)
        ]  # fmt: skip
        if not rows or all(r[k] is None for r in rows for k in NUMBERS):
            return None
        rows.sort(key=lambda r: r["bin"])
        columns = ([np.nan if r[k] is None else r[k] for r in rows] for k in NUMBERS)
        return (np.array([r["bin"] for r in rows], dtype=float), *(np.array(c, dtype=float) for c in columns))  # type: ignore[return-value]

    def agreement(self, metric: str) -> list[tuple[str, Cell]]:
        """A figure of agreement of all teachers per finding."""
        return [
            (r["finding"], cell(r)) for r in self.plain["findings"]
            if r["metric"] == metric and r["teacher"] == "all" and r["finding"] != "all" and r["coding"] == "A"
        ]  # fmt: skip

    def tests(self, *families: str) -> list[dict[str, Any]]:
        """Tests of some families, in their order."""
        return [t for t in self.plain["tests"] if t["family"] in families]

    def subgroups(self) -> list[dict[str, Any]]:
        """Rows per teacher within subgroups."""
        return [r for r in self.plain["teachers"] if r["by"] is not None]

    def changes(self) -> list[dict[str, Any]]:
        """Rows per teacher of what changed against an older release."""
        return [r for r in self.plain["teachers"] if str(r["metric"]).startswith("change of ")]


def cell(row: Mapping[str, Any]) -> Cell:
    """A row's numbers."""
    value, low, high, n, undefined = (row.get(k) for k in (*NUMBERS, "n", "n_undefined"))
    return Cell(value, low, high, n, undefined, str(row.get("suppressed") or ""))
