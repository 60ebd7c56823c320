"""The content hash: equal for equal data whatever the order, different for any difference, and pinned."""

import hashlib
import json
import math
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.data.content import Hasher, content_hash, schema_hash
from cxr_max.errors import DataError
from cxr_max.schema import TABLES, Column, ListOf, StructOf, Table

TABLE = Table(
    "toy",
    (
        Column("instance_id", "str", "index", key=True),
        Column("teacher", "str", "index", key=True),
        Column("n", "u16", "index", nullable=True),
        Column("x", "f32", "index", nullable=True),
        Column("ok", "bool", "index", nullable=True),
        Column("names", ListOf("str"), "derived", nullable=True),
        Column("s", StructOf((("a", "i64"), ("b", "str"))), "derived", nullable=True),
        Column("pairs", ListOf(StructOf((("t", "str"), ("g", "u8")))), "derived"),
    ),
)
ROWS = [
    {"instance_id": "a", "teacher": "x", "n": 1, "x": 0.5, "ok": True, "names": ["p", None], "s": {"a": 1, "b": None},
     "pairs": [{"t": "u", "g": 0}]},
    {"instance_id": "a", "teacher": "y", "n": None, "x": math.nan, "ok": None, "names": None, "s": None, "pairs": []},
    {"instance_id": "b", "teacher": "x", "n": 3, "x": None, "ok": False, "names": [], "s": {"a": None, "b": "é"},
     "pairs": [{"t": "", "g": 1}, {"t": "v", "g": 2}]},
]  # fmt: skip


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLE.polars())


def test_order_and_pieces_do_not_matter() -> None:
    whole = content_hash(frame(ROWS), TABLE)
    for seed in range(5):
        shuffled = random.Random(seed).sample(ROWS, len(ROWS))
        assert content_hash(frame(shuffled), TABLE) == whole
    pieces = Hasher(TABLE)
    pieces.update(frame(ROWS[2:]))
    pieces.update(frame(ROWS[:2]).rechunk())
    assert pieces.hexdigest() == whole


def test_pinned() -> None:
    # Computed by the definition in the module's docstring, with plain Python, for one row of one text column.
    table = Table("t", (Column("instance_id", "str", "index", key=True),))
    row = hashlib.sha256(b"\x01" + (2).to_bytes(8, "little") + b"ab").digest()
    schema = hashlib.sha256(json.dumps(["t", [["instance_id", "str", True, False]]]).encode()).hexdigest()
    expected = hashlib.sha256(schema.encode() + hashlib.sha256(b"ab").digest() + row).hexdigest()
    assert content_hash(pl.DataFrame({"instance_id": ["ab"]}), table) == expected


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, "n", 2), (0, "n", None), (1, "n", 0), (0, "x", -0.5), (1, "x", None), (0, "ok", None), (1, "ok", False),
        (0, "names", ["p", ""]), (0, "names", ["p"]), (1, "names", []), (2, "names", None), (0, "s", None),
        (0, "s", {"a": 1, "b": ""}), (0, "pairs", [{"t": "u", "g": 1}]),
        (2, "pairs", [{"t": "v", "g": 2}, {"t": "", "g": 1}]),
        (0, "teacher", "z"), (2, "instance_id", "c"),
    ],
)  # fmt: skip
def test_any_difference_shows(row: int, column: str, value: object) -> None:
    other = [dict(r) for r in ROWS]
    other[row][column] = value
    assert content_hash(frame(other), TABLE) != content_hash(frame(ROWS), TABLE)


def test_an_instance_in_two_pieces_is_refused() -> None:
    pieces = Hasher(TABLE)
    pieces.update(frame(ROWS[:1]))
    with pytest.raises(DataError, match="more than one shard"):
        pieces.update(frame(ROWS[1:2]))


def test_text_cannot_move_between_rows_or_columns() -> None:
    table = Table("t", tuple(Column(n, "str", "index", key=n == "instance_id") for n in ("instance_id", "a", "b")))
    hashes = {
        content_hash(pl.DataFrame({"instance_id": ["i"], "a": [a], "b": [b]}), table)
        for a, b in (("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""))
    }
    assert len(hashes) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), unique=True, max_size=12), st.randoms())
def test_order_never_matters(keys: list[tuple[str, str]], rng: random.Random) -> None:
    table = TABLES["steps"]
    rows = [
        {"instance_id": i, "teacher": t, "generation": 0, "step": n, "section": t or None, "start": n, "end": n + 1}
        for n, (i, t) in enumerate(keys)
    ]
    rows = [{**r, "generic": False} for r in rows]
    one = pl.DataFrame(rows, schema=table.polars())
    rng.shuffle(rows)
    assert content_hash(one, table) == content_hash(pl.DataFrame(rows, schema=table.polars()), table)


def test_schema_hashes_differ() -> None:
    assert len({schema_hash(t) for t in TABLES.values()}) == len(TABLES)
