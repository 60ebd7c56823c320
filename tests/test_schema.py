"""The schema: every column has a class, every table a key, and the three library forms agree."""

import datasets
import polars as pl
import pyarrow as pa
import pytest

from cxr_max import schema
from cxr_max.errors import UnknownNameError

TABLES = list(schema.TABLES.values())


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_column_has_a_class_and_every_table_a_key(table: schema.Table) -> None:
    assert all(c.data_class in schema.DATA_CLASSES for c in table.columns)
    assert table.keys
    assert len(set(table.names)) == len(table.names)
    assert table.doc
    assert all(not c.nullable for c in table.columns if c.key)


def test_a_release_holds_no_source_column() -> None:
    for table in TABLES:
        if table.released:
            assert table.of_class("source") == ()


def test_text_is_never_of_class_index() -> None:
    for table in TABLES:
        assert not {"prompt", "diseases", "trajectory", "chosen", "rejected"} & set(table.of_class("index"))


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_polars_arrow_and_features_agree(table: schema.Table) -> None:
    arrow = table.arrow()
    assert arrow.metadata is None
    assert (
        table.features()
        .arrow_schema.remove_metadata()
        .equals(pa.schema([f.with_nullable(True) for f in arrow]), check_metadata=False)
    )
    frame = pl.from_arrow(arrow.empty_table())
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema == table.polars()


def test_rows_round_trip_through_all_forms() -> None:
    table = schema.table("preferences")
    rows = [
        {
            "instance_id": "a", "strategy": "vote", "prompt": "p", "chosen": "c",
            "rejected": [{"teacher": "gpt-5", "generation": 0, "trajectory": "t"}], "weights": [1.0],
        },
        {"instance_id": "b", "strategy": "vote", "prompt": "p", "chosen": "c", "rejected": [], "weights": None},
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=table.polars())
    loaded = datasets.Dataset.from_list(rows, features=table.features())
    assert frame.to_dicts() == rows
    assert loaded.to_list() == rows
    assert pa.Table.from_pylist(rows, schema=table.arrow()).to_pylist() == rows


def test_chosen_columns_keep_the_given_order() -> None:
    table = schema.table("instances")
    assert list(table.polars(["split", "instance_id"])) == ["split", "instance_id"]
    assert table.features(["split"]) == datasets.Features({"split": datasets.Value("string")})


def test_findings_are_alphabetical_as_in_mimic_cxr_jpg() -> None:
    assert list(schema.FINDINGS) == sorted(schema.FINDINGS)
    assert len(schema.FINDINGS) == 14


@pytest.mark.parametrize("name", ["validate", "validation", "val", "dev", "VAL"])
def test_split_aliases(name: str) -> None:
    assert schema.canonical_split(name) == "validate"


@pytest.mark.parametrize("call", [schema.canonical_split, schema.table, schema.table("steps").column])
def test_unknown_names_are_errors(call: object) -> None:
    with pytest.raises(UnknownNameError, match="known: "):
        call("nope")  # type: ignore[operator]


def test_missing_columns_are_named_in_order() -> None:
    assert schema.check_columns(["a"], ["c", "a", "b"]) == ["c", "b"]
