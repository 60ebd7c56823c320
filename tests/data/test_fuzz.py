"""Whatever lies in a raw file: every record becomes a row or a counted rejection, or the file is a clear error."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_max import data
from cxr_max.data.ingest import ingest
from cxr_max.data.readers import read
from cxr_max.data.shapes import SYNONYMS, Mapped
from cxr_max.data.sources import Source
from cxr_max.errors import CxrMaxError, DataError
from tests.data import toy

KEYS = st.one_of(
    st.sampled_from([s for spellings in SYNONYMS.values() for s in spellings]),
    st.sampled_from(["conversations", "messages", "gpt-5", "grok-4", "a.b", "", "\u0000"]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.sampled_from([toy.image(0), toy.image(1), "gpt-5", "train", "s50000000", "../x", "\ud800"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
SPOILED = st.builds(
    lambda base, more: {**base, **more}, st.sampled_from(toy.rows(2)), st.dictionaries(KEYS, VALUES, max_size=3)
)
RECORDS = st.lists(st.one_of(st.dictionaries(KEYS, VALUES, max_size=6), SPOILED), max_size=6)
BYTES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda text, cut, put: text[:cut] + put + text[cut:],
        st.builds(lambda r: json.dumps(r).encode(), RECORDS),
        st.integers(0, 400),
        st.binary(max_size=4),
    ),
)


def check_records(folder: Path, records: list[dict[str, Any]]) -> None:
    path = folder / "gpt-5.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    if not records:
        with pytest.raises(DataError):
            list(read(path))
        return
    try:
        found = ingest([Source(path, path.name)], Mapped(), allow_new_teachers=True)
    except CxrMaxError:
        return
    assert found.frame.height + found.rejected.counts.total() == found.n_rows >= len(records)
    assert len(found.rejected.places) == found.rejected.counts.total()
    try:
        done = data.build([path], folder / "r", "1.0.0", findings=False, max_rejected=1.0, allow_new_teachers=True)
    except CxrMaxError:
        assert not (folder / "r").exists()
        return
    kept = done.release.manifest["tables"]["trajectories"]["rows"]
    pairs = found.frame["chosen"].is_not_null().sum()
    assert kept + sum(done.rejected.values()) <= found.n_rows
    assert kept + sum(done.rejected.values()) >= found.n_rows - pairs
    assert done.release.verify().problems == []


def check_bytes(folder: Path, content: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(content)
    try:
        records = list(read(path))
    except DataError:
        return
    assert all((r.fields is None) == bool(r.reason) for r in records)
    lines = [r.line for r in records]
    assert lines == sorted(lines)


NAMES = st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv", "x.parquet", "x.jsonl.gz", "x.jsonl.zst"])


def zipped(content: bytes, name: str) -> bytes:
    return gzip.compress(content) if name.endswith("gz") and len(content) % 2 else content


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=RECORDS)
def test_any_records(records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    check_records(tmp_path_factory.mktemp("fuzz"), records)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=BYTES, name=NAMES)
def test_any_bytes(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_bytes(tmp_path_factory.mktemp("fuzz"), zipped(content, name), name)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=RECORDS)
def test_any_records_at_length(records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    check_records(tmp_path_factory.mktemp("fuzz"), records)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=BYTES, name=NAMES)
def test_any_bytes_at_length(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_bytes(tmp_path_factory.mktemp("fuzz"), zipped(content, name), name)
