"""Differences row by row, and the version they oblige to."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cxr_max import data
from cxr_max.data import diff as diffs
from cxr_max.data import versions
from cxr_max.errors import CheckFailedError, DataError, UsageError
from tests.data import toy


@pytest.fixture
def build(tmp_path: Path) -> Any:
    def make(name: str, records: list[dict[str, Any]], **options: Any) -> data.Release:
        return toy.release(tmp_path, name, records=records, **{"findings": False, **options})

    return make


def test_the_same(build: Any, tmp_path: Path) -> None:
    one, two = build("a", toy.rows(4)), build("b", list(reversed(toy.rows(4))))
    assert one.diff(two).same
    assert one.manifest["release_hash"] == two.manifest["release_hash"]


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_counts_per_teacher_and_column(build: Any, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffs, "_INSTANCES", size)
    old = toy.rows(6)
    new = [dict(r) for r in old if not (r["teacher"] == "grok-4" and r["image"] == toy.image(0))] + toy.rows(7)[42:43]
    changed = next(r for r in new if r["teacher"] == "gpt-5" and r["image"] == toy.image(3))
    changed["response"] = "Other words. And a second step here."
    found = build("a", old).diff(build("b", new)).tables
    t = found["trajectories"]
    assert (t["added"], t["removed"], t["changed"]) == (1, 1, 1)
    assert t["columns"] == {"n_steps": 1, "n_words": 1, "text_sha256": 1, "trajectory": 1}
    assert t["teachers"]["gpt-5"] == {"added": 0, "removed": 0, "changed": 1}
    assert t["teachers"]["grok-4"]["removed"] == 1
    assert t["teachers"]["sonnet-4"]["added"] == 1
    # One teacher fewer for one instance, and one instance more.
    assert found["instances"]["columns"] == {"n_teachers": 1}
    assert found["instances"]["added"] == 1


def test_lists_and_structs_are_compared(build: Any) -> None:
    rows = toy.rows(1, ["gpt-5"])
    other = [{**rows[0], "temperature": 0.5, "prompt": toy.rows(2)[7]["prompt"]}]
    found = build("a", rows).diff(build("b", other)).tables["trajectories"]
    assert found["columns"] == {"decoding": 1, "diseases": 1, "prompt": 1}


def test_a_table_that_comes_or_goes(build: Any) -> None:
    plain, rich = build("a", toy.rows(2)), build("b", toy.rows(2), findings=True)
    found = plain.diff(rich).tables
    assert found["findings"]["new"]
    assert found["findings"]["added"] == rich.manifest["tables"]["findings"]["rows"]
    assert found["trajectories"]["columns"] == {"refusal": 14}
    assert versions.needed(found)[0] == "minor"
    back = rich.diff(plain).tables
    assert back["findings"]["gone"]
    assert versions.needed(back)[0] == "major"


def test_rows_are_listed_in_a_file(build: Any, tmp_path: Path) -> None:
    one, two = build("a", toy.rows(2)), build("b", toy.rows(3))
    data.diff.compare(one.path, two.path, rows=tmp_path / "out" / "rows.csv")
    with (tmp_path / "out" / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["table"] for r in rows} == {"instances", "trajectories", "steps"}
    assert all(r["change"] == "added" and r["instance_id"] == toy.dicom_id(2) for r in rows)
    with pytest.raises(UsageError):
        data.diff.compare(one.path, two.path, rows=tmp_path / "out" / "rows.csv")


def test_diff_agrees_with_plain_python(build: Any) -> None:
    old, new = build("a", toy.rows(9)), build("b", toy.rows(12)[21:])
    for name in old.tables:
        keys = old.table(name).keys
        sides = [{tuple(r[k] for k in keys): r for r in x.scan(name).collect().to_dicts()} for x in (old, new)]
        found = old.diff(new).tables[name]
        assert found["added"] == len(sides[1].keys() - sides[0].keys())
        assert found["removed"] == len(sides[0].keys() - sides[1].keys())
        assert found["changed"] == sum(sides[0][k] != sides[1][k] for k in sides[0].keys() & sides[1].keys())


def change(**counts: Any) -> dict[str, Any]:
    empty = {"added": 0, "removed": 0, "changed": 0, "columns": {}, "teachers": {}, "schema": []}
    return {"trajectories": {**empty, **counts}}


LEVELS = [
    (change(), "none"),
    (change(changed=3, columns={"trajectory": 3, "text_sha256": 3}), "patch"),
    (change(added=1), "minor"),
    (change(added=1, changed=1, columns={"trajectory": 1}), "minor"),
    (change(removed=1), "major"),
    (change(schema=["n_words"]), "major"),
    (change(changed=1, columns={"split": 1}), "major"),
]


@pytest.mark.parametrize(("difference", "level"), LEVELS)
def test_levels(difference: dict[str, Any], level: str) -> None:
    assert versions.needed(difference)[0] == level
    bumps = {"none": "1.2.3", "patch": "1.2.4", "minor": "1.3.0", "major": "2.0.0"}
    for stated, version in bumps.items():
        if versions.LEVELS.index(stated) >= versions.LEVELS.index(level):
            assert versions.check("1.2.3", version, difference) == level
        else:
            with pytest.raises(CheckFailedError, match=f"{level} is needed") as e:
                versions.check("1.2.3", version, difference)
            assert bumps[level] in str(e.value)


@pytest.mark.parametrize("text", ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0+", "1.0.-1", "", "1.0.0 "])
def test_malformed_versions(text: str) -> None:
    with pytest.raises(UsageError):
        versions.parse(text)


def test_versions_only_go_up() -> None:
    with pytest.raises(UsageError, match="before the previous"):
        versions.check("1.2.3", "1.2.2", change())
    assert versions.parse("1.2.3-rc.1+a.b") == (1, 2, 3, "rc.1", "a.b")


def test_a_wrong_bump_is_refused_and_leaves_everything_as_it_was(build: Any, tmp_path: Path) -> None:
    build("r", toy.rows(4), version="1.0.0")
    before = (tmp_path / "r" / "manifest.json").read_bytes()
    with pytest.raises(CheckFailedError, match="removed: major is needed"):
        build("r", toy.rows(3), version="1.1.0", overwrite=True)
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r", "r-raw"]
    two = build("r", toy.rows(3), version="2.0.0", overwrite=True)
    assert two.version == "2.0.0"
    log = (two.path / "CHANGELOG.md").read_text()
    assert log.index("## 2.0.0") < log.index("## 1.0.0")
    assert "7 removed" in log
    three = build("s", toy.rows(5), version="2.1.0", previous=two.path)
    assert three.verify().ok
    with pytest.raises(DataError, match="synthetic"):
        build("t", toy.rows(5, synthetic=False), version="3.0.0", previous=two.path)


def test_frames_of_another_library_version_do_not_matter(build: Any) -> None:
    assert build("a", toy.rows(2)).scan("trajectories").select(pl.col("decoding").is_null().all()).collect().item()
