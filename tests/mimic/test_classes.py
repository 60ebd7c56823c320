"""Data classes that columns carry, datasets that refuse to be written, and the ways both are lost."""

import io
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from cxr_max.errors import RestrictedDataError, UnknownNameError
from cxr_max.mimic import classes
from cxr_max.mimic.classes import RestrictedDataset, RestrictedIterableDataset, RestrictedText, restrict
from cxr_max.mimic.features import Radiograph

FEATURES = datasets.Features(
    {"i": datasets.Value("int32"), "findings": RestrictedText("source"), "image": Radiograph(decode=False)}
)
ROWS = {"i": list(range(6)), "findings": ["heart large", None, "x", "y", "z", "w"], "image": ["a.jpg"] * 6}


@pytest.fixture
def data() -> Any:
    return restrict(datasets.Dataset.from_dict(ROWS, features=FEATURES))


WRITERS: dict[str, Callable[[Any, Path], Any]] = {
    "to_parquet": lambda d, p: d.to_parquet(p / "x.parquet"),
    "to_csv": lambda d, p: d.to_csv(p / "x.csv"),
    "to_json": lambda d, p: d.to_json(str(p / "x.json")),
    "to_sql": lambda d, p: d.to_sql("t", f"sqlite:///{p}/x.db"),
    "save_to_disk": lambda d, p: d.save_to_disk(p / "x"),
    "push_to_hub": lambda d, p: d.push_to_hub("someone/something"),
}
KEEPERS: dict[str, Callable[[Any], Any]] = {
    "select": lambda d: d.select([0, 2]),
    "filter": lambda d: d.filter(lambda r: r["i"] > 1),
    "map": lambda d: d.map(lambda r: {"n": r["i"]}),
    "shuffle": lambda d: d.shuffle(seed=1),
    "sort": lambda d: d.sort("i"),
    "shard": lambda d: d.shard(2, 0),
    "take": lambda d: d.take(2),
    "skip": lambda d: d.skip(2),
    "cast_column": lambda d: d.cast_column("i", datasets.Value("int64")),
    "rename_column": lambda d: d.rename_column("i", "j"),
    "remove_columns": lambda d: d.remove_columns(["i"]),
    "select_columns": lambda d: d.select_columns(["findings"]),
    "with_format": lambda d: d.with_format("numpy"),
    "flatten_indices": lambda d: d.select([3, 1]).flatten_indices(),
    "add_column": lambda d: d.add_column("k", [1] * 6),
    "split": lambda d: d.train_test_split(0.5, seed=0)["train"],
    "pickle": lambda d: pickle.loads(pickle.dumps(d)),
    "repeat": lambda d: d.repeat(2),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_is_written_unasked(write: Callable[[Any, Path], Any], data: Any, tmp_path: Path) -> None:
    with pytest.raises(RestrictedDataError, match="would take MIMIC-CXR content"):
        write(data, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", KEEPERS.values(), ids=KEEPERS)
def test_what_is_made_from_it_refuses_too(make: Callable[[Any], Any], data: Any, tmp_path: Path) -> None:
    made = make(data)
    assert isinstance(made, RestrictedDataset)
    with pytest.raises(RestrictedDataError):
        made.to_parquet(tmp_path / "x.parquet")
    assert isinstance(made, datasets.Dataset)
    assert isinstance(next(iter(made)), dict)


def test_iterable_datasets_and_dicts_refuse(data: Any, tmp_path: Path) -> None:
    stream = data.to_iterable_dataset()
    assert isinstance(stream.filter(lambda r: True).map(lambda r: r).shuffle(seed=0), RestrictedIterableDataset)
    assert [r["i"] for r in stream.take(2)] == [0, 1]
    for write in (stream.to_csv, stream.to_parquet):
        with pytest.raises(RestrictedDataError):
            write(tmp_path / "x")
    parts = data.train_test_split(0.5)
    with pytest.raises(RestrictedDataError):
        parts.push_to_hub("someone/something")
    with pytest.raises(RestrictedDataError):
        parts.save_to_disk(tmp_path / "x")


def test_who_asks_may_write_to_a_local_path(data: Any, tmp_path: Path) -> None:
    data.to_parquet(tmp_path / "x.parquet", allow_restricted=True)
    assert pl.read_parquet(tmp_path / "x.parquet")["findings"].to_list() == ROWS["findings"]
    data.to_csv(str(tmp_path / "x.csv"), allow_restricted=True)
    data.to_json(tmp_path / "x.json", allow_restricted=True)
    with sqlite3.connect(tmp_path / "x.db") as connection:
        data.to_sql("t", connection, allow_restricted=True)
        assert connection.execute("select count(*) from t").fetchone() == (6,)
    data.save_to_disk(tmp_path / "x", allow_restricted=True)
    assert datasets.load_from_disk(str(tmp_path / "x"))["image"][:2] == ["a.jpg", "a.jpg"]
    data.train_test_split(0.5).save_to_disk(tmp_path / "y", allow_restricted=True)
    assert data.features["findings"] == RestrictedText("source")


@pytest.mark.parametrize(
    "write",
    [
        lambda d, p: d.push_to_hub("someone/something", allow_restricted=True),
        lambda d, p: d.to_csv(io.BytesIO(), allow_restricted=True),
        lambda d, p: d.to_parquet("s3://bucket/x.parquet", allow_restricted=True),
        lambda d, p: d.save_to_disk("hf://datasets/a/b", allow_restricted=True),
        lambda d, p: d.to_sql("t", "postgresql://host/db", allow_restricted=True),
    ],
)
def test_nothing_goes_anywhere_else_even_when_asked(
    write: Callable[[Any, Path], Any], data: Any, tmp_path: Path
) -> None:
    with pytest.raises(RestrictedDataError):
        write(data, tmp_path)


def test_nothing_goes_into_a_git_work_tree(data: Any, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError, match="git work tree"):
        data.to_csv(tmp_path / "x.csv", allow_restricted=True)


def test_columns_refuse_where_the_dataset_does_not(tmp_path: Path) -> None:
    plain = datasets.Dataset.from_dict(ROWS, features=FEATURES).remove_columns("image")
    with pytest.raises(RestrictedDataError, match="class source"):
        plain.save_to_disk(tmp_path / "x")
    rows = plain.to_iterable_dataset()
    assert next(iter(rows))["findings"] == "heart large"
    assert plain.features["findings"].dtype == "string"


def test_ways_of_losing_it_with_datasets(data: Any, tmp_path: Path) -> None:
    joined = datasets.concatenate_datasets([data, data])
    assert not isinstance(joined, RestrictedDataset)
    with pytest.raises(RestrictedDataError):
        joined.save_to_disk(tmp_path / "still")
    assert joined.features["findings"] == RestrictedText("source")
    assert not isinstance(datasets.interleave_datasets([data, data]), RestrictedDataset)
    assert data.to_dict()["findings"] == ROWS["findings"]
    assert list(data.to_pandas()["findings"])[2] == "x"
    assert data.to_polars()["findings"].dtype == pl.String
    assert data.data.column("findings")[0].as_py() == "heart large"
    assert data.map(lambda r: {"copy": r["findings"]}).features["copy"] == datasets.Value("string")
    assert data.cast_column("findings", datasets.Value("string")).features["findings"] == datasets.Value("string")
    loose = joined.cast_column("findings", datasets.Value("string")).remove_columns("image")
    loose.save_to_disk(tmp_path / "lost")
    assert (tmp_path / "lost").is_dir()


FRAME = pl.DataFrame({"i": [1, 2], "findings": ["a", None], "prompt": ["p", "q"]})
needs_extensions = pytest.mark.skipif(not hasattr(pl, "BaseExtension"), reason="this Polars has no extension dtypes")


@needs_extensions
def test_polars_columns_carry_their_class() -> None:
    marked = classes.mark(FRAME, {"findings": "source", "prompt": "derived", "i": "index", "none": "source"})
    assert classes.classes_of(marked) == {"findings": "source", "prompt": "derived"}
    with pytest.raises(pl.exceptions.ComputeError):
        marked.write_csv()
    lazy = classes.mark(FRAME.lazy(), {"findings": "source"})
    for frame in (
        lazy.filter(pl.col("i") > 1),
        lazy.join(lazy, on="i"),
        pl.concat([lazy, lazy]),
        lazy.select("findings").unique(),
    ):
        assert classes.classes_of(frame.collect())["findings"] == "source"
    buffer = io.BytesIO()
    marked.write_parquet(buffer)
    buffer.seek(0)
    assert classes.classes_of(pl.read_parquet(buffer)) == {"findings": "source", "prompt": "derived"}
    assert classes.unmark(marked).equals(FRAME)
    assert classes.unmark(FRAME).equals(FRAME)


@needs_extensions
def test_ways_of_losing_it_with_polars() -> None:
    marked = classes.mark(FRAME, {"findings": "source"})
    assert marked["findings"].to_list() == ["a", None]
    assert marked.rows()[0] == (1, "a", "p")
    assert '"findings":"a"' in marked.write_json()
    assert '"findings":"a"' in marked.write_ndjson()
    assert marked.to_pandas()["findings"][0] == "a"
    assert classes.classes_of(marked.select(pl.col("findings").ext.storage())) == {}


def test_a_polars_without_extensions_keeps_plain_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_EXTENSIONS", False)
    assert classes.mark(FRAME, {"findings": "source"}).equals(FRAME)
    assert classes.classes_of(FRAME) == {}


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        classes.mark(FRAME, {"findings": "secret"})


def test_a_join_refuses_unless_all_of_it_is_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_max import mimic
    from tests.mimic import world
    from tests.mimic.test_join import make_release

    joined = mimic.join(make_release(), world.write_world(tmp_path / "mimic"))
    assert not joined.synthetic
    data = joined.dataset(text=True)
    assert isinstance(data, RestrictedDataset)
    assert data.features["findings"] == RestrictedText("source")
    assert isinstance(joined.iterable(), RestrictedIterableDataset)
    with pytest.raises(RestrictedDataError):
        data.to_parquet(tmp_path / "x.parquet")
    monkeypatch.setattr(mimic.Joined, "synthetic", True)
    data = joined.dataset(text=True)
    assert not isinstance(data, RestrictedDataset)
    data.remove_columns("image").save_to_disk(tmp_path / "x")
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    assert isinstance(joined.dataset(text=True), RestrictedDataset)
