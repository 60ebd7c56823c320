"""From a public index and one's own raw files to the full release, checked hash by hash."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cxr_max.data import index, locate
from cxr_max.data.building import Built, build
from cxr_max.data.locate import Located
from cxr_max.errors import CheckFailedError, DataError, UsageError
from cxr_max.folders import sibling

KEY = ["instance_id", "teacher", "generation"]


class Rebuilt(NamedTuple):
    """A rebuilt release.

    Attributes:
        built: what `cxr_max.data.build` returned.
        same: tables whose content hash is that of the full release the index was made from.
        absent: tables of the full release that were not rebuilt (consensus, preferences: they come from training).
        other: tables that differ although every text is the same: annotated by another lexicon or without findings.
    """

    built: Built
    same: tuple[str, ...]
    absent: tuple[str, ...]
    other: tuple[str, ...]

    def summary(self) -> str:
        """One sentence on what is the same as in the full release and what is not."""
        parts = [f"every text is the one the index names; same as the full release: {', '.join(self.same)}"]
        if self.other:
            parts.append(f"annotated otherwise: {', '.join(self.other)}")
        if self.absent:
            parts.append(f"not rebuilt: {', '.join(self.absent)}")
        return "; ".join(parts)


def rebuild(of: Any, raw: Sequence[str | Path], out: str | Path, **options: Any) -> Rebuilt:
    """Build the full release an index was made from.

    Args:
        of: the index: a folder, `org/name[@revision]`, or an open release.
        raw: the raw files, as for `cxr_max.data.build`.
        out: a folder that does not exist yet.
        options: as for `cxr_max.data.build`, other than version.

    Raises:
        UsageError: `of` is no index.
        CheckFailedError: a text is missing, added or not the one the index names; nothing is left at `out`.
        As `cxr_max.data.build`.
    """
    located = locate.locate(of, tables=index.TABLES)
    if index.data_class(located.manifest) != "index":
        raise UsageError(f"{located} is no index; it holds its texts itself")
    place = Path(out).expanduser().absolute()
    if place.exists():
        raise UsageError(f"{place} exists already", next="choose another folder")
    with sibling(place) as draft:
        built = build(raw, draft / place.name, located.version, **options)
        _check_texts(located, built)
        result = _compare(located, built)
        (draft / place.name).rename(place)
        shutil.rmtree(draft, ignore_errors=True)
    release = type(built.release)(place)
    return result._replace(built=built._replace(release=release))


def _check_texts(located: Located, built: Built) -> None:
    """Every text, and no other, by key and SHA-256."""
    wanted = _hashes([located.path / n for names in located.files("trajectories").values() for n in names])
    got = built.release.scan("trajectories").select(*KEY, "text_sha256").collect()
    missing = wanted.join(got, on=KEY, how="anti").height
    added = got.join(wanted, on=KEY, how="anti").height
    changed = wanted.join(got, on=KEY, how="inner").filter(pl.col("text_sha256") != pl.col("text_sha256_right")).height
    if missing or added or changed:
        raise CheckFailedError(
            f"the raw files are not those of {located}: {missing} texts missing, {added} that the index does not name, "
            f"{changed} with another SHA-256 (of {wanted.height})",
            next="use the raw files of this version; cxr-max diff compares two releases",
        )


def _hashes(paths: Sequence[Path]) -> pl.DataFrame:
    if not paths:
        raise DataError("the index names no trajectories")
    return pl.scan_parquet(list(paths)).select(*KEY, "text_sha256").collect()


def _compare(located: Located, built: Built) -> Rebuilt:
    full = located.manifest["full"]["tables"]
    mine = built.release.manifest["tables"]
    same = tuple(n for n in full if n in mine and mine[n]["content_hash"] == full[n]["content_hash"])
    absent = tuple(n for n in full if n not in mine)
    other = tuple(n for n in full if n in mine and n not in same)
    if "instances" in other:
        raise CheckFailedError(
            f"the instances differ from those of {located} although their texts are the same",
            next="pass the MIMIC roots the release was built with: split, view, subject and study come from there",
        )
    return Rebuilt(built, same, absent, other)
