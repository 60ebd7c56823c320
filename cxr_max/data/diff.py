"""What changed between two releases: row by row, per teacher and column, in bounded memory.

Both are read in ranges of instance ids, which statistics of the row groups make cheap; values are compared, not hashes.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.swap import draft_file
from cxr_max.errors import UsageError
from cxr_max.folders import is_restricted, refuse_git
from cxr_max.schema import TABLES, Table

_INSTANCES = 4_096
"""Instances compared at a time; with seven trajectories each that is about 60 MB of text a side."""

TableDiff = dict[str, Any]
Sink = Callable[[pl.DataFrame], None]


@dataclass(frozen=True)
class Diff:
    """What the newer release adds, removes and changes.

    Attributes:
        old: version of the older.
        new: version of the newer.
        tables: per table: `added`, `removed`, `changed` rows; `columns`: changed rows per column; `teachers`: the same
            three counts per teacher; `schema`: columns that came, went or changed type; `gone`/`new` for whole tables.
    """

    old: str
    new: str
    tables: dict[str, TableDiff]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not any(t["added"] or t["removed"] or t["changed"] or t["schema"] for t in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"old": self.old, "new": self.new, "same": self.same, "tables": self.tables}


def diff(old: ReleaseFolder, new: ReleaseFolder, *, sink: Sink | None = None) -> Diff:
    """Compare two releases.

    Args:
        old: the older.
        new: the newer.
        sink: takes frames with one row per added, removed or changed row: table, its key, `change`, `columns`.

    Raises:
        DataError: files are damaged.
    """
    names = [n for n in TABLES if n in old.tables or n in new.tables]
    return Diff(old.version, new.version, {n: _table(n, old, new, sink) for n in names})


def compare(old: Path, new: Path, *, rows: Path | None = None) -> Diff:
    """Compare two release folders; with `rows`, write the key of every changed row to a new CSV file.

    Raises:
        UsageError: the file exists already.
        RestrictedDataError: it would lie in a git work tree, and the releases are not synthetic.
    """
    first, second = ReleaseFolder(old), ReleaseFolder(new)
    if rows is None:
        return diff(first, second)
    if rows.exists():
        raise UsageError(f"{rows} exists", next="choose another file")
    if is_restricted(first.synthetic and second.synthetic):
        refuse_git(rows)
    with draft_file(rows) as draft, draft.open("w", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "instance_id", "teacher", "generation", "part", "change", "columns"))

        def sink(frame: pl.DataFrame) -> None:
            for row in frame.iter_rows(named=True):
                part = row.get("step", row.get("i", row.get("strategy", "")))
                keys = (row["instance_id"], row.get("teacher", ""), row.get("generation", ""), part)
                writer.writerow((row["table"], *keys, row["change"], " ".join(row["columns"])))

        return diff(first, second, sink=sink)


def _table(name: str, old: ReleaseFolder, new: ReleaseFolder, sink: Sink | None) -> TableDiff:
    sides = [r.table(name) if name in r.tables else None for r in (old, new)]
    result: TableDiff = {"added": 0, "removed": 0, "changed": 0, "columns": {}, "teachers": {}, "schema": []}
    result["gone"], result["new"] = sides[1] is None, sides[0] is None
    both = [t for t in sides if t is not None]
    shared = [c for c in both[0].names if all(c in t.names and t.column(c) == both[0].column(c) for t in both)]
    result["schema"] = sorted({c for t in both for c in t.names} - set(shared))
    if all(t is not None for t in sides) and _hash(old, name) == _hash(new, name):
        return result
    table = both[0]
    columns, teachers = Counter[str](), {k: Counter[str]() for k in ("added", "removed", "changed")}
    for rows in _ranges(old, new, table, shared):
        compared = _compare(rows, table, shared)
        for change, n in compared["change"].value_counts().iter_rows():
            result[change] += n
        columns.update(compared["columns"].explode().drop_nulls().to_list())
        if "teacher" in table.keys:
            for teacher, change, n in compared.group_by("teacher", "change").len().iter_rows():
                teachers[change][teacher] += n
        if sink is not None and compared.height:
            sink(compared.select(pl.lit(name).alias("table"), *table.keys, "change", "columns"))
    result["columns"] = dict(sorted(columns.items()))
    seen = sorted({t for counts in teachers.values() for t in counts})
    result["teachers"] = {t: {change: teachers[change][t] for change in teachers} for t in seen}
    return result


def _hash(release: ReleaseFolder, name: str) -> tuple[str, str]:
    entry = release.manifest["tables"][name]
    return entry["schema_hash"], entry["content_hash"]


def _ranges(
    old: ReleaseFolder, new: ReleaseFolder, table: Table, shared: list[str]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Rows of both releases, one range of instance ids after the other."""
    key = table.keys[0]
    empty = pl.LazyFrame(schema=table.polars(shared))
    scans = [r.scan(table.name).select(shared) if table.name in r.tables else empty for r in (old, new)]
    ids = pl.concat([s.select(key).unique() for s in scans]).unique().sort(key).collect(engine="streaming")[key]
    for start in range(0, len(ids), _INSTANCES):
        low, high = ids[start], ids[min(start + _INSTANCES, len(ids)) - 1]
        within = pl.col(key).is_between(pl.lit(low), pl.lit(high))
        first, second = (s.filter(within).collect() for s in scans)
        yield first, second


def _compare(rows: tuple[pl.DataFrame, pl.DataFrame], table: Table, shared: list[str]) -> pl.DataFrame:
    """Keys of the rows that differ, with `change` and the names of the `columns` that changed."""
    keys = list(table.keys)
    values = [c for c in shared if c not in keys]
    old, new = (f.with_columns(here=pl.lit(True)) for f in rows)
    joined = old.join(new, on=keys, how="full", suffix="_new", coalesce=True)
    removed, added = pl.col("here_new").is_null(), pl.col("here").is_null()
    differing = [pl.when(pl.col(c).ne_missing(pl.col(f"{c}_new"))).then(pl.lit(c)) for c in values]
    columns = pl.concat_list(differing).list.drop_nulls() if differing else pl.lit([], pl.List(pl.String))
    change = pl.when(removed).then(pl.lit("removed")).when(added).then(pl.lit("added")).otherwise(pl.lit("changed"))
    found = joined.select(
        *keys,
        change.alias("change"),
        pl.when(removed | added).then(pl.lit([], pl.List(pl.String))).otherwise(columns).alias("columns"),
    )
    return found.filter((pl.col("change") != "changed") | (pl.col("columns").list.len() > 0))
