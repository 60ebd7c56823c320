"""Where a drift report reads from: a release, a join, or two files of texts."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cxr_max import prompts
from cxr_max.drift.config import Config
from cxr_max.errors import CxrMaxError, DataError, MissingFileError, UnknownNameError
from cxr_max.schema import Scannable, canonical_split
from cxr_max.teachers import TEACHER_IDS, find_teacher

KEYS = ("instance_id", "teacher", "generation")
_BATCH = 20_000
_log = logging.getLogger(__name__)


class Frames(NamedTuple):
    """What is kept of a release before encoding.

    Attributes:
        instances: `i`, instance_id, subject_id, study_id, split, view, diseases; sorted by patient and study.
        trajectories: `t`, `i`, the keys, n_words, n_steps, refusal; sorted by instance, teacher and generation.
        teachers: ids of the teachers of the whole release, in the paper's order, others behind.
    """

    instances: pl.DataFrame
    trajectories: pl.DataFrame
    teachers: tuple[str, ...]


def scan(data: Scannable, name: str) -> pl.LazyFrame | None:
    """A table as a lazy frame, or None when the data do not hold it."""
    try:
        frame: pl.LazyFrame = data.scan(name)
        frame.collect_schema()
    except (CxrMaxError, KeyError, FileNotFoundError, pl.exceptions.PolarsError):
        return None
    return frame


def needed(data: Scannable, name: str) -> pl.LazyFrame:
    """A table that must be there.

    Raises:
        DataError: it is not.
    """
    frame = scan(data, name)
    if frame is None:
        raise DataError(f"the data hold no table {name!r}", next="cxr-max verify RELEASE")
    return frame


def read_frames(data: Scannable, config: Config, *, shard: tuple[int, int] = (0, 1)) -> Frames:
    """Instances and trajectories a report is about.

    Args:
        data: a release or a join.
        config: which teachers, split and how many instances.
        shard: number of this shard and of all shards; shards are runs of patients.

    Raises:
        DataError: no instance or no trajectory is left.
        UnknownNameError: a teacher that does not occur.
    """
    columns = ("instance_id", "subject_id", "study_id", "split", "view", "diseases")
    instances = needed(data, "instances").select(columns)
    if config.split is not None:
        instances = instances.filter(pl.col("split") == canonical_split(config.split))
    rows = instances.collect().sort("subject_id", "study_id", "instance_id")
    if config.limit is not None:
        rows = rows.head(config.limit)
    patient = rows["subject_id"].rank("dense").cast(pl.Int64) - 1
    n_patients = int(patient.max() or 0) + 1 if len(rows) else 0  # type: ignore[arg-type]
    rows = rows.filter(patient * shard[1] // max(n_patients, 1) == shard[0]).with_row_index("i")
    every = needed(data, "trajectories")
    present = every.select(pl.col("teacher").unique()).collect()["teacher"].to_list()
    teachers = tuple(t for t in TEACHER_IDS if t in present) + tuple(sorted(set(present) - set(TEACHER_IDS)))
    if config.teachers is not None:
        unknown = [t for t in config.teachers if t not in teachers]
        if unknown:
            raise UnknownNameError.of("teacher", unknown[0], teachers)
        teachers = tuple(t for t in teachers if t in config.teachers)
    order = pl.DataFrame({"teacher": teachers, "u": range(len(teachers))}, schema={"teacher": pl.String, "u": pl.Int32})
    trajectories = (
        every.select(*KEYS, "n_words", "n_steps", "refusal")
        .join(rows.lazy().select("i", "instance_id"), on="instance_id")
        .join(order.lazy(), on="teacher")
        .collect()
        .sort("i", "u", "generation")
        .with_row_index("t")
    )
    if shard[1] == 1 and not len(trajectories):
        raise DataError("no trajectory is left", next="check --split, --teachers and --limit")
    return Frames(rows, trajectories, teachers)


def texts(data: Scannable, frames: Frames, keep: pl.Series | None = None) -> Iterator[tuple[list[int], list[str]]]:
    """Rows `t` and texts of the trajectories, in batches, in the order of the files.

    Args:
        data: the release.
        frames: which trajectories.
        keep: only these `t`.
    """
    index = frames.trajectories.select("t", *KEYS)
    if keep is not None:
        index = index.filter(pl.col("t").is_in(keep.implode()))
    wanted = needed(data, "trajectories").select(*KEYS, "trajectory")
    for start in range(0, batches(data) * _BATCH, _BATCH):
        batch = wanted.slice(start, _BATCH).collect().join(index, on=KEYS)
        if len(batch):
            yield batch["t"].to_list(), batch["trajectory"].to_list()


def batches(data: Scannable) -> int:
    """Number of batches of `texts`, those included that hold none of the wanted rows."""
    return -(-int(needed(data, "trajectories").select(pl.len()).collect().item()) // _BATCH)


class TextTables:
    """Texts and references from two files, with the tables a report reads."""

    def __init__(self, tables: Mapping[str, pl.DataFrame], manifest: Mapping[str, Any]) -> None:
        self._tables = tables
        self._manifest = manifest

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the texts are; `synthetic` is false unless every row says so."""
        return self._manifest

    def scan(self, table: str) -> pl.LazyFrame:
        """A table by name.

        Raises:
            UnknownNameError: not among them.
        """
        if table not in self._tables:
            raise UnknownNameError.of("table", table, self._tables)
        return self._tables[table].lazy()


_NAMES = {
    "instance_id": ("instance_id", "id", "image", "study"),
    "text": ("trajectory", "text", "response", "report", "candidate", "reference"),
}


def from_texts(candidates: Path, references: Path | None = None) -> TextTables:
    """Any candidates and references by id, as JSON Lines, CSV or Parquet.

    Args:
        candidates: columns id and text; optionally teacher, generation, subject_id, study_id, split, view, diseases
            (list, or text separated by semicolons) or prompt, synthetic.
        references: columns id and findings or impression, or text (taken as findings).

    Raises:
        MissingFileError: a file is not there.
        DataError: a file cannot be read or lacks a column, or an id occurs twice for one teacher.
    """
    rows = _named(_read(candidates), candidates)
    for name, default in (("teacher", "candidate"), ("generation", 0), ("split", "test"), ("view", None)):
        rows = rows if name in rows.columns else rows.with_columns(pl.lit(default).alias(name))
    rows = rows.with_columns(pl.col("generation").cast(pl.UInt8), pl.col("teacher").cast(pl.String))
    spellings = {s: teacher.id for s in rows["teacher"].unique() if s and (teacher := find_teacher(s))}
    rows = rows.with_columns(pl.col("teacher").replace(spellings))
    if rows.select(pl.struct(KEYS).is_duplicated().any()).item():
        raise DataError("an id occurs more than once for one teacher and generation", next="add a generation column")
    for name, other in (("study_id", "instance_id"), ("subject_id", "study_id")):
        if name not in rows.columns:
            # Without patients each study is its own.
            rows = rows.with_columns((pl.col(other).rank("dense").cast(pl.Int64) - 1).alias(name))
    rows = rows.with_columns(_diseases(rows).alias("diseases"))
    instances = rows.group_by("instance_id", maintain_order=True).first()
    instances = instances.select("instance_id", "subject_id", "study_id", "split", "view", "diseases")
    trajectories = rows.select(
        *KEYS,
        pl.col("text").alias("trajectory"),
        pl.col("text").str.count_matches(r"\S+").alias("n_words"),
        pl.lit(None, pl.UInt16).alias("n_steps"),
        pl.lit(None, pl.Boolean).alias("refusal"),
    )
    tables = {"instances": instances, "trajectories": trajectories}
    if references is not None:
        tables["references"] = _references(references, instances)
    synthetic = "synthetic" in rows.columns and bool(rows["synthetic"].fill_null(False).all())
    return TextTables(tables, {"dataset": "texts", "version": candidates.name, "synthetic": synthetic})


def _references(path: Path, instances: pl.DataFrame) -> pl.DataFrame:
    rows = _read(path)
    if not {"findings", "impression"} & set(rows.columns):
        rows = _named(rows, path).rename({"text": "findings"})
    else:
        rows = _named(rows, path, text=False)
    for name in ("findings", "impression"):
        rows = rows if name in rows.columns else rows.with_columns(pl.lit(None, pl.String).alias(name))
    if rows["instance_id"].is_duplicated().any():
        raise DataError(f"{path.name} has an id more than once")
    rows = rows.select("instance_id", pl.col("findings", "impression").cast(pl.String))
    return instances.select("instance_id", "subject_id", "study_id").join(rows, on="instance_id")


def _diseases(rows: pl.DataFrame) -> pl.Series:
    if "diseases" in rows.columns and isinstance(rows.schema["diseases"], pl.List):
        return rows["diseases"].fill_null([])
    if "diseases" in rows.columns:
        lists = [[p.strip() for p in (d or "").split(";") if p.strip()] for d in rows["diseases"].to_list()]
    elif "prompt" in rows.columns:
        lists = [list(prompts.parse(p or "") or ()) for p in rows["prompt"].to_list()]
    else:
        lists = [[] for _ in range(len(rows))]
    return pl.Series("diseases", lists, dtype=pl.List(pl.String))


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise MissingFileError(f"no file {path.name}")
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
        ".csv": pl.read_csv,
        ".parquet": pl.read_parquet,
    }
    if path.suffix not in readers:
        raise DataError(f"{path.name} is of no known kind; known: {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError):
        # The parser's own message may quote the text.
        raise DataError(
            f"{path.name} cannot be read as {path.suffix[1:]}", next="check that it is whole and UTF-8"
        ) from None


def _named(rows: pl.DataFrame, path: Path, *, text: bool = True) -> pl.DataFrame:
    for wanted in ("instance_id", "text") if text else ("instance_id",):
        found = [n for n in (wanted, *_NAMES[wanted]) if n in rows.columns]
        if not found:
            raise DataError(
                f"{path.name} has no column {' or '.join(_NAMES[wanted])}; it has {', '.join(rows.columns)}"
            )
        rows = rows.rename({found[0]: wanted}) if found[0] != wanted else rows
    rows = rows.with_columns(pl.col("instance_id").cast(pl.String))
    rows = rows.with_columns(pl.col("text").cast(pl.String).fill_null("")) if text else rows
    dropped = int(rows["instance_id"].null_count())
    if dropped:
        _log.warning("%d rows without an id were left out", dropped)
    return rows.filter(pl.col("instance_id").is_not_null())
