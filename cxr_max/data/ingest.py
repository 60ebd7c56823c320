"""Raw teacher outputs -> one frame of trajectories, the rejected rows, and an account of what was taken for what."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from cxr_max.data import readers, shapes
from cxr_max.data.rows import REASONS, Normaliser, Row, unknown_teachers
from cxr_max.data.sources import Source
from cxr_max.errors import CheckFailedError, DataError
from cxr_max.progress import track
from cxr_max.schema import TABLES
from cxr_max.teachers import TEACHER_IDS

MAX_REJECTED = 0.01
"""Share of rejected rows above which a build fails, unless it is told to accept more."""

_BATCH = 8_192
_MAX_READINGS = 2_000

FRAME: dict[str, Any] = {
    **TABLES["instances"].polars(("instance_id", "unit", "dicom_ids", "subject_id", "study_id", "split", "view")),
    **TABLES["trajectories"].polars(("teacher", "teacher_model", "teacher_snapshot", "decoding", "prompt")),
    **TABLES["trajectories"].polars(("trajectory", "n_words", "text_sha256")),
    "generation": pl.String(),
    "chosen": pl.String(),
    "strategy": pl.String(),
    "source": pl.UInt32(),
    "line": pl.UInt32(),
}
"""Columns of the frame: those of `rows.Row`, then the index of the source file and the line in it."""

_ARROW = pl.DataFrame(schema=FRAME).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


@dataclass
class Rejections:
    """Rows that were left out: counts by reason, and where each came from."""

    counts: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, int, int]] = field(default_factory=list)

    def add(self, reason: str, source: int, line: int) -> None:
        """Count one row of a source (by index) and line."""
        self.counts[reason] += 1
        self.places.append((reason, source, line))

    def add_frame(self, reason: str, frame: pl.DataFrame) -> None:
        """Count all rows of a frame with columns source and line."""
        for source, line in frame.select("source", "line").iter_rows():
            self.add(reason, source, line)

    def check(self, n_rows: int, allowed: float) -> None:
        """Raise when too large a share was rejected.

        Args:
            n_rows: rows that were read, rejected ones included.
            allowed: largest share in [0, 1].

        Raises:
            CheckFailedError: the share is larger; the reasons are listed with their counts.
        """
        n = self.counts.total()
        if n_rows and n / n_rows > allowed:
            listed = "\n".join(f"  {c:>9,}  {r}: {REASONS[r]}" for r, c in self.counts.most_common())
            raise CheckFailedError(
                f"{n:,} of {n_rows:,} rows ({n / n_rows:.2%}) are rejected, at most {allowed:.2%} may be\n{listed}",
                next="mend the raw files or the mapping, or pass --max-rejected FRACTION",
            )

    def write(self, path: Path, sources: Sequence[Source]) -> None:
        """Write one JSON line per rejected row: reason, file, line; in the order of files and lines."""
        with path.open("w", encoding="utf-8") as file:
            for reason, source, line in sorted(self.places, key=lambda p: (p[1], p[2], p[0])):
                row = {"reason": reason, "source_file": sources[source].name, "source_line": line}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


@dataclass
class Ingested:
    """What was read.

    Attributes:
        frame: one row per trajectory, columns as `FRAME`, in the order read.
        rejected: rows that were left out.
        n_rows: rows read, rejected ones included.
        explanation: per file, what was taken for what; keys of records, never values.
        synthetic: whether the rows say that they are synthetic.
        seed: the seed synthetic rows name, when it is one.
    """

    frame: pl.DataFrame
    rejected: Rejections
    n_rows: int
    explanation: list[str]
    synthetic: bool
    seed: int | None


def ingest(sources: Sequence[Source], mapped: shapes.Mapped, *, allow_new_teachers: bool = False) -> Ingested:
    """Read all raw files.

    Raises:
        DataError: a file cannot be read, holds no trajectory under any key, or mixes synthetic and real rows.
        UnknownNameError: a teacher is not known.
    """
    frames: list[pl.DataFrame] = []
    rejected, explanation = Rejections(), list[str]()
    unknown: set[str] = set()
    synthetic: Counter[bool] = Counter()
    seeds: set[int] = set()
    n_rows = 0
    for index, source in track(list(enumerate(sources)), "reading"):
        reader = _FileReader(index, source, mapped, allow_new=allow_new_teachers, rejected=rejected)
        frames.extend(reader.frames())
        explanation.append(reader.explain())
        n_rows += reader.n_rows
        unknown |= reader.normaliser.unknown
        synthetic.update(reader.normaliser.synthetic)
        seeds |= reader.normaliser.seeds
    if unknown:
        raise unknown_teachers(unknown, (*TEACHER_IDS, *mapped.teachers))
    if synthetic[True] and synthetic[False]:
        raise DataError(
            f"{synthetic[True]:,} rows are marked synthetic and {synthetic[False]:,} are not",
            next="build two releases; real and synthetic rows are never put in one",
        )
    frame = pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=FRAME)
    seed = seeds.pop() if len(seeds) == 1 else None
    return Ingested(frame, rejected, n_rows, explanation, synthetic[True] > 0, seed)


def grouped(explanation: Sequence[str]) -> list[str]:
    """The explanation with files that were read alike put together."""
    files: dict[str, list[str]] = {}
    for line in explanation:
        name, _, how = line.partition(": ")
        files.setdefault(how, []).append(name)
    return [f"{', '.join(names)}: {how}" for how, names in files.items()]


class _FileReader:
    """Reads one file into frames; readings are decided once per set of keys."""

    def __init__(
        self, index: int, source: Source, mapped: shapes.Mapped, *, allow_new: bool, rejected: Rejections
    ) -> None:
        self.index, self.source, self.mapped, self.rejected = index, source, mapped, rejected
        self.normaliser = Normaliser(mapped, source.path, allow_new=allow_new)
        self.n_rows = 0
        self._readings: dict[tuple[str, ...], shapes.Reading] = {}
        self._used: Counter[tuple[str, ...]] = Counter()

    def frames(self) -> Iterator[pl.DataFrame]:
        """Frames of up to 8,192 rows.

        Raises:
            DataError: no record holds a trajectory under any key.
        """
        rows: list[Row] = []
        lines: list[int] = []
        for record in readers.read(self.source.path):
            found = self._rows(record.fields) if record.fields is not None else (record.reason,)
            for row in found:
                self.n_rows += 1
                if isinstance(row, str):
                    self.rejected.add(row, self.index, record.line)
                else:
                    rows.append(row)
                    lines.append(record.line)
            if len(rows) >= _BATCH:
                yield self._frame(rows, lines)
                rows, lines = [], []
        if rows:
            yield self._frame(rows, lines)
        if self._readings and not any(r.complete for r in self._readings.values()):
            raise shapes.unrecognised(self.source.path, next(iter(self._readings)))

    def _rows(self, fields: Mapping[str, Any]) -> Iterator[Row | str]:
        keys = tuple(fields)
        reading = self._readings.get(keys)
        if reading is None:
            reading = shapes.recognise(keys, self.mapped)
            if len(self._readings) < _MAX_READINGS:
                self._readings[keys] = reading
        self._used[keys] += 1 if keys in self._readings else 0
        return self.normaliser.rows(fields, reading)

    def _frame(self, rows: list[Row], lines: list[int]) -> pl.DataFrame:
        columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
        data: dict[str, Any] = {**columns, "source": [self.index] * len(rows), "line": lines}
        # Through Arrow: Polars makes a series of every list and struct it is given.
        arrays = [pa.array(data[field.name], field.type) for field in _ARROW]
        return pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(arrays, schema=_ARROW)), schema_overrides=FRAME)

    def explain(self) -> str:
        """What was taken for what in this file, by the key set most records have."""
        if not self._used:
            return f"{self.source.name}: no readable record"
        keys, n = self._used.most_common(1)[0]
        reading = self._readings[keys]
        taken = [f"{name} <- {key}" for name, key in reading.taken.items()]
        if "teacher" not in reading.taken and not reading.teachers and self.normaliser.teacher_of_file:
            taken.append(f"teacher <- (file name: {self.normaliser.teacher_of_file})")
        text = f"{self.source.name}: {n:,} of {self.n_rows:,} records {reading.shape}; {', '.join(taken)}"
        if reading.ignored:
            text += f"; ignored: {', '.join(k[:40] for k in reading.ignored)}"
        if len(self._readings) > 1:
            text += f"; {len(self._readings) - 1} other sets of keys"
        return text
