"""What a drift report is: frames of aggregates, what they were computed with, and weights."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max.drift import weights as weighting
from cxr_max.drift.config import MIN_PATIENTS, Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.page import writing
from cxr_max.folders import is_restricted, write_atomic

FRAMES = ("teachers", "pairs", "findings", "steps", "tests")
_VALUES = (
    "value", "low", "high", "standard_error", "statistic", "effect", "p", "p_adjusted", "smallest_detectable",
    "n", "n_undefined", "n_patients", "nan_draws",
)  # fmt: skip
SUPPRESSED = f"fewer than {MIN_PATIENTS} patients"


@dataclass(frozen=True)
class DriftReport:
    """Drift between teachers as five frames of aggregates; no frame holds an id.

    Attributes:
        teachers: one row per teacher, figure and configuration, with interval, n and n undefined.
        pairs: one row per pair of teachers and figure.
        findings: one row per finding: agreement of all teachers, and each teacher's precision and recall.
        steps: curves along the reasoning: view, series, teacher, bin, value.
        tests: one row per test: family, p, adjusted p, effect, smallest detectable effect, n.
        about: what it was computed from and with; `signature` is a hash of the methods.
        notes: remarks a reader needs, in words.
        encoded: the arrays behind it (class derived and source; never written by `to_json`).
        config: the options.
    """

    teachers: pl.DataFrame
    pairs: pl.DataFrame
    findings: pl.DataFrame
    steps: pl.DataFrame
    tests: pl.DataFrame
    about: Mapping[str, Any]
    notes: tuple[str, ...]
    encoded: Encoded
    config: Config

    def weights(self, kind: str = "agreement") -> pl.DataFrame:
        """Teacher weights per instance (class derived; kind `reference`: source), mean 1, rising with drift.

        Raises:
            UnknownNameError: another kind than agreement, uniform, teacher, reference.
        """
        return weighting.compute(self.encoded, self.config, kind)

    def outliers(self) -> pl.DataFrame:
        """Outlier score per trajectory and consensus strength per instance (class derived)."""
        distance, z, strength = weighting.outliers(self.encoded, self.config)
        has, _ = weighting.given(self.encoded)
        i, u = has.nonzero()
        return pl.DataFrame(
            {
                "instance_id": self.encoded.instance_id[i].tolist(),
                "teacher": [self.encoded.vocabulary.teachers[k] for k in u],
                "distance": distance[i, u],
                "z": z[i, u],
                "consensus": strength[i],
            },
            schema_overrides={"instance_id": pl.String, "teacher": pl.String},
        )

    def shareable(self) -> dict[str, Any]:
        """Everything that may be shared, as plain data: cells over fewer than 10 patients of real data are blanked."""
        blank = is_restricted(bool(self.about["synthetic"]))
        frames = {name: _suppressed(getattr(self, name), blank) for name in FRAMES}
        about = {**self.about, "small_cells_hidden": blank}
        return {"about": about, "notes": list(self.notes), **frames}

    def to_json(self, path: Path) -> None:
        """Write `shareable()` as JSON; undefined values are null. A kill leaves the old file or the whole new one."""
        write_atomic(path, json.dumps(self.plain(), indent=1) + "\n")

    def to_html(self, path: Path) -> None:
        """Write the page alone, one self-contained file; `cxr-max drift` writes its figures beside it."""
        write_atomic(path, writing.html(self.plain()))

    def plain(self) -> dict[str, Any]:
        """`shareable()` as JSON takes it: undefined values are None."""
        made: dict[str, Any] = _plain(self.shareable())
        return made

    def table(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Headline figures as one row per teacher, suppressed like everything that is shared.

        Args:
            names: figures, each as "metric" (macro) or "metric/micro".
        """
        wanted = [(n, *(n.split("/") if "/" in n else (n, "macro"))) for n in names]
        setting = {k: getattr(self.config, k) for k in ("section", "level", "unc", "mode")}
        rows = [
            r for r in self.shareable()["teachers"]
            if r["by"] is None and r["finding"] == "all" and all(r[k] == v for k, v in setting.items())
        ]  # fmt: skip
        found = {(r["teacher"], r["metric"], r["averaging"]): r for r in rows}
        teachers = self.encoded.vocabulary.teachers
        return [
            {"teacher": t, **{n: found.get((t, metric, averaging)) for n, metric, averaging in wanted}}
            for t in teachers
        ]


def frame(rows: list[dict[str, Any]], columns: Mapping[str, Any]) -> pl.DataFrame:
    """Rows as a frame with exactly these columns; what a row lacks is null, NaN in a float column."""
    data = {name: [r.get(name) for r in rows] for name in columns}
    made = pl.DataFrame(data, schema=dict(columns), strict=False)
    floats = [n for n, t in columns.items() if t == pl.Float64]
    return made.with_columns(pl.col(floats).fill_null(float("nan")))


def _suppressed(frame_: pl.DataFrame, blank: bool) -> list[dict[str, Any]]:
    rows = frame_.to_dicts()
    if not blank:
        return rows
    for row in rows:
        n = row.get("n_patients")
        if n is not None and n < MIN_PATIENTS:
            row.update({k: None for k in _VALUES if k in row})
            # A note may name counts.
            row.update({k: "" for k in ("note",) if row.get(k)})
            row["suppressed"] = SUPPRESSED
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def signature(methods: Mapping[str, Any]) -> str:
    """Hash of the methods: two reports with the same one differ only by their data."""
    return hashlib.sha256(json.dumps(_plain(methods), sort_keys=True).encode()).hexdigest()[:16]
