"""A release with more tables is the next version; the old shards go over byte by byte."""

from pathlib import Path

import polars as pl
import pytest

from cxr_max import data
from cxr_max.data import layout
from cxr_max.errors import CheckFailedError, DataError, UsageError
from cxr_max.schema import TABLES
from tests.data import toy


def preferences(release: data.Release) -> pl.DataFrame:
    groups = release.scan("trajectories").collect().group_by("instance_id", maintain_order=True).agg(
        pl.col("prompt").first(),
        rejected=pl.struct("teacher", "generation", "trajectory"),
    )  # fmt: skip
    return groups.with_columns(
        strategy=pl.lit("vote"), chosen=pl.lit("The consensus."), weights=pl.lit(None, pl.List(pl.Float32))
    ).select(TABLES["preferences"].names)


def test_extend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "INSTANCES_PER_SHARD", 4)
    monkeypatch.setattr(layout, "INSTANCES_PER_BLOCK", 3)
    old = toy.release(tmp_path, "a", n=20, findings=False, version="1.0.0")
    rows = preferences(old)
    new = data.extend(old, tmp_path / "b", "1.1.0", {"preferences": rows.sample(fraction=1, shuffle=True, seed=3)})
    assert new.verify().ok
    assert new.tables == (*old.tables, "preferences")
    assert new.scan("preferences").collect().sort("instance_id").equals(rows.sort("instance_id"))
    for name in old.tables:
        assert new.manifest["tables"][name] == old.manifest["tables"][name]
    # Shards of all tables hold the same instances.
    for one, two in zip(new.files("instances"), new.files("preferences"), strict=True):
        assert set(pl.read_parquet(one)["instance_id"]) == set(pl.read_parquet(two)["instance_id"])
    assert "preferences: 20 added" in (new.path / "CHANGELOG.md").read_text()
    with pytest.raises(CheckFailedError, match="minor is needed"):
        data.extend(old, tmp_path / "c", "1.0.1", {"preferences": rows})
    assert not (tmp_path / "c").exists()


def test_rows_that_do_not_belong(tmp_path: Path) -> None:
    old = toy.release(tmp_path, "a", n=4, findings=False, version="1.0.0")
    rows = preferences(old)
    for wrong, error in (
        ({"preferences": rows.with_columns(instance_id=pl.lit("x"))}, "share a key"),
        ({"preferences": rows[:1].with_columns(instance_id=pl.lit("x"))}, "does not hold"),
        ({"preferences": rows.drop("chosen")}, "lack chosen"),
        ({"preferences": rows.with_columns(chosen=pl.lit(None, pl.String))}, "nulls"),
        ({"preferences": rows.with_columns(weights=pl.lit("x"))}, "types"),
    ):
        with pytest.raises(DataError, match=error):
            data.extend(old, tmp_path / "b", "1.1.0", wrong)
        assert not (tmp_path / "b").exists()
    with pytest.raises(UsageError):
        data.extend(old, tmp_path / "b", "1.1.0", {"provenance": rows})
