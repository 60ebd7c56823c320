"""What has to hold between the rows of one shard: unique keys, allowed values, references, counts, hashes of texts."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import polars as pl

from cxr_max.data.folder import ReleaseFolder
from cxr_max.schema import HF_SPLITS, Table

_TRAJECTORY = ["instance_id", "teacher", "generation"]


class Broken(NamedTuple):
    """Rows of one file that break one contract; rows are numbered from 0."""

    path: str
    what: str
    rows: list[int]


def check_rows(
    frames: Mapping[str, pl.DataFrame], paths: Mapping[str, str], release: ReleaseFolder
) -> Iterator[Broken]:
    """All contracts of the tables of one shard.

    Args:
        frames: table -> its rows in the order of the file; a table that could not be read is missing.
        paths: table -> path of the file inside the release.
        release: for the tables' columns.
    """
    numbered = {n: f.with_row_index("row") for n, f in frames.items()}
    for name, frame in numbered.items():
        for what, mask in _of_table(frame, release.table(name), paths[name]):
            yield from _broken(paths[name], what, frame, mask)
    for name, what, bad in _between(numbered, release):
        yield from _broken(paths[name], what, numbered[name], bad)


def _broken(path: str, what: str, frame: pl.DataFrame, bad: pl.Expr | pl.Series) -> Iterator[Broken]:
    rows = frame.filter(bad)["row"].to_list()
    if rows:
        yield Broken(path, what, rows)


def _of_table(frame: pl.DataFrame, table: Table, path: str) -> Iterator[tuple[str, pl.Expr]]:
    yield f"its key ({', '.join(table.keys)}) is not unique", pl.struct(table.keys).is_duplicated()
    for column in table.columns:
        if not column.nullable:
            yield f"{column.name} is null", pl.col(column.name).is_null()
        if column.allowed:
            bad = pl.col(column.name).is_not_null() & ~pl.col(column.name).is_in(column.allowed)
            yield f"{column.name} is none of {', '.join(column.allowed)}", bad
    if "split" in table.names:
        split = path.rpartition("/")[2].partition("-")[0]
        own = next(k for k, v in HF_SPLITS.items() if v == split)
        yield f"split is not {own}, which the file's name says", pl.col("split") != own
    if "start" in table.names:
        yield "start is not before end", pl.col("start") >= pl.col("end")


Found = Iterator[tuple[str, str, pl.Expr | pl.Series]]


def _between(frames: Mapping[str, pl.DataFrame], release: ReleaseFolder) -> Found:
    instances, trajectories = frames.get("instances"), frames.get("trajectories")
    for name in frames:
        if name != "instances" and instances is not None:
            ids = instances["instance_id"].implode()
            yield name, "its instance is not in the instances of this shard", ~pl.col("instance_id").is_in(ids)
    if trajectories is None:
        return
    if "trajectory" in release.table("trajectories").names:
        yield from _texts(trajectories)
    if instances is not None:
        yield from _instances(instances, trajectories)
    for name in ("steps", "findings"):
        if name in frames:
            yield from _parts(name, frames[name], trajectories, release)
    yield from _findings(frames)


def _texts(trajectories: pl.DataFrame) -> Found:
    texts = trajectories["trajectory"]
    hashes = pl.Series([hashlib.sha256((t or "").encode()).hexdigest() for t in texts], dtype=pl.String)
    words = pl.Series([len((t or "").split()) for t in texts], dtype=pl.UInt32)
    yield "trajectories", "text_sha256 is not the hash of the trajectory", trajectories["text_sha256"] != hashes
    yield "trajectories", "n_words is not the number of words", trajectories["n_words"] != words


def _instances(instances: pl.DataFrame, trajectories: pl.DataFrame) -> Found:
    names = ("subject_id", "study_id", "split")
    own = instances.unique("instance_id").select("instance_id", pl.col(names).name.suffix("_own"))
    joined = trajectories.join(own, on="instance_id", how="left", maintain_order="left")
    differs = pl.any_horizontal((pl.col(n) != pl.col(f"{n}_own")).fill_null(False) for n in names)
    yield "trajectories", "subject, study or split differ from its instance", joined.select(differs).to_series()
    count = trajectories.group_by("instance_id").agg(n=pl.col("teacher").n_unique())
    stated = instances.join(count, on="instance_id", how="left", maintain_order="left")
    yield "instances", "n_teachers is not the number of its teachers", stated["n_teachers"] != stated["n"].fill_null(0)


def _parts(name: str, frame: pl.DataFrame, trajectories: pl.DataFrame, release: ReleaseFolder) -> Found:
    text = "trajectory" in release.table("trajectories").names
    length = pl.col("trajectory").str.len_chars() if text else pl.lit(None, pl.UInt32)
    # A key that is there twice is a problem of its own, and must not multiply rows here.
    whole = trajectories.unique(_TRAJECTORY).select(*_TRAJECTORY, "n_steps", length=length)
    joined = frame.join(whole, on=_TRAJECTORY, how="left", maintain_order="left")
    yield name, "its trajectory is not in this shard", joined["n_steps"].is_null()
    yield name, "end lies beyond the trajectory", (joined["end"] > joined["length"]).fill_null(False)
    if name == "steps":
        count = frame.group_by(_TRAJECTORY).agg(n=pl.len())
        stated = trajectories.join(count, on=_TRAJECTORY, how="left", maintain_order="left")
        yield "trajectories", "n_steps is not the number of its steps", stated["n_steps"] != stated["n"].fill_null(0)


def _findings(frames: Mapping[str, pl.DataFrame]) -> Found:
    if "findings" not in frames or "steps" not in frames:
        return
    steps = frames["steps"].unique([*_TRAJECTORY, "step"]).select(*_TRAJECTORY, "step", first="start", last="end")
    joined = frames["findings"].join(steps, on=[*_TRAJECTORY, "step"], how="left", maintain_order="left")
    inside = pl.col("start").is_between("first", "last", closed="left").fill_null(False)
    outside = joined.select(pl.col("step").is_not_null() & ~inside).to_series()
    yield "findings", "it does not begin in the step it names", outside
