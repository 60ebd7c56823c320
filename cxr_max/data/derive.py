"""The next version of a release: the same tables and one or more others, such as consensus and preferences."""

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from cxr_max.data import manifest, versions, writing
from cxr_max.data.finish import copy_shards, drafted, finish
from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.release import Release, open_release
from cxr_max.errors import DataError, UsageError
from cxr_max.folders import is_restricted, new_dir, refuse_git
from cxr_max.schema import TABLES


def extend(
    release: ReleaseFolder,
    out: str | os.PathLike[str],
    version: str,
    tables: Mapping[str, pl.DataFrame],
    *,
    overwrite: bool = False,
) -> Release:
    """Write a new version of a release that also holds the given tables; one of the same name is replaced.

    Args:
        release: the release before.
        out: folder of the new one.
        version: has to follow the old one as the change demands: at least a minor version for a new table.
        tables: name -> rows with the columns of the schema; every instance is one of the release.
        overwrite: exchange a release that lies at `out`.

    Raises:
        UsageError: a table that no release holds, or `out` is taken.
        CheckFailedError: the version does not say what changed.
        DataError: rows of unknown instances, missing columns, nulls where none may be.
    """
    place = Path(out).expanduser().absolute()
    unknown = [n for n in tables if n not in TABLES or not TABLES[n].released or n == "instances"]
    if unknown:
        raise UsageError(f"{', '.join(unknown)}: no table that can be added to a release")
    versions.parse(version)
    new_dir(place, overwrite=overwrite)
    if is_restricted(release.synthetic):
        refuse_git(place)
    frames = {name: _checked(name, frame) for name, frame in tables.items()}
    old = release.manifest
    entries = manifest.draft(version, synthetic=release.synthetic, seed=old.get("seed"))
    entries |= {k: old[k] for k in ("sources", "counts", "extracted") if k in old}
    with drafted(place) as draft:
        kept = [n for n in release.tables if n not in frames]
        entries["files"] = copy_shards(release, draft, kept)
        written, files = _write(draft, release, frames)
        entries["tables"] = {n: old["tables"][n] for n in kept} | written
        entries["files"] |= files
        finish(draft, entries, place, previous=release, overwrite=overwrite)
    return open_release(place)


def _checked(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    table = TABLES[name]
    missing = [c for c in table.names if c not in frame.columns]
    if missing:
        raise DataError(f"rows of {name} lack {', '.join(missing)}")
    try:
        cast = frame.select(pl.col(n).cast(t) for n, t in table.polars().items())
    except pl.exceptions.PolarsError as e:
        raise DataError(f"rows of {name} are not of the schema's types") from e
    if cast.select(pl.struct(table.keys).is_duplicated().any()).item():
        raise DataError(f"rows of {name} share a key ({', '.join(table.keys)})")
    return cast


def _write(
    draft: Path, release: ReleaseFolder, frames: Mapping[str, pl.DataFrame]
) -> tuple[dict[str, dict[str, object]], dict[str, dict[str, object]]]:
    instances = writing.in_order(release.scan("instances").select("instance_id", "split").collect(), ("instance_id",))
    for name, frame in frames.items():
        if not frame["instance_id"].is_in(instances["instance_id"].implode()).all():
            raise DataError(f"rows of {name} belong to instances that the release does not hold")
    writer = writing.TableWriter(draft, [TABLES[n] for n in frames], synthetic=release.synthetic)
    try:
        shard = ("", 0, 0)
        for block in writing.plan(instances["split"]):
            if shard != block[:3]:
                shard = block[:3]
                writer.shard(*shard)
            ids = instances["instance_id"][block.start : block.stop].implode()
            writer.write({n: f.filter(pl.col("instance_id").is_in(ids)) for n, f in frames.items()})
        return writer.close(), writer.files
    except BaseException:
        writer.abort()
        raise
