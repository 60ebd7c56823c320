"""Every way to damage a release is found and named; a sound one passes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_max import data
from cxr_max.data import layout, manifest
from cxr_max.data.content import content_hash
from cxr_max.data.writing import file_entry, to_arrow
from cxr_max.errors import DataError, MissingFileError, UnknownNameError
from cxr_max.schema import TABLES
from tests.data import toy


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 24 images with several shards and blocks."""
    folder = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "INSTANCES_PER_SHARD", 8)
        patch.setattr(layout, "INSTANCES_PER_BLOCK", 3)
        return toy.release(folder, n=24).path


@pytest.fixture
def release(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "cxr-max"))


def problems(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for p in data.verify.verify(path).problems:
        found[p.where] = f"{found.get(p.where, '')} {p.what};"
    return found


SHARD = "trajectories/train-00000-of-00002.parquet"


def test_sound(sound: Path) -> None:
    found = data.verify.verify(sound)
    assert found.ok, found.problems
    entries = data.open_release(sound).manifest
    assert found.checked["files"] == len(entries["files"])
    assert found.checked["rows"] == sum(t["rows"] for t in entries["tables"].values())


def flip(path: Path) -> None:
    content = bytearray((path / SHARD).read_bytes())
    content[len(content) // 2] ^= 1
    (path / SHARD).write_bytes(content)


def lose(path: Path) -> None:
    (path / SHARD).unlink()


def truncate(path: Path) -> None:
    (path / SHARD).write_bytes((path / SHARD).read_bytes()[:-100])


def swap(path: Path) -> None:
    one, two = path / SHARD, path / SHARD.replace("00000-of", "00001-of")
    held = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(held)


def link(path: Path) -> None:
    held = path.parent / "elsewhere.parquet"
    (path / SHARD).rename(held)
    (path / SHARD).symlink_to(held)


def edit(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    assert '"seed": 7' in text
    (path / "manifest.json").write_text(text.replace('"seed": 7', '"seed": 8'))


def add(path: Path) -> None:
    (path / "trajectories" / "cxr-max.py").write_text("print(1)")


def cut(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[: len(text) // 2])


def card(path: Path) -> None:
    (path / "README.md").write_text("# not for clinical use? it is!\n")


DAMAGE: dict[Callable[[Path], None], tuple[str, str]] = {
    flip: (SHARD, "SHA-256"),
    lose: (SHARD, "missing"),
    truncate: (SHARD, "bytes"),
    swap: (SHARD, "bytes"),
    link: ("manifest.json", "symbolic link"),
    edit: ("manifest.json", "edited"),
    add: ("trajectories/cxr-max.py", "not in the manifest"),
    cut: ("manifest.json", "not valid JSON"),
    card: ("README.md", "bytes"),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_damage_is_found_and_named(damage: Callable[[Path], None], release: Path) -> None:
    damage(release)
    where, what = DAMAGE[damage]
    found = problems(release)
    assert any(k == where and what in v for k, v in found.items()), found


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.parquet", "a/../../b", "C:\\x", "a\0b", ""])
def test_a_manifest_cannot_name_files_outside(name: str, release: Path) -> None:
    entries = json.loads((release / "manifest.json").read_text())
    entries["files"][name] = {"rows": 1, "bytes": 1, "sha256": "0" * 64}
    manifest.write(release, entries)
    assert "no path inside" in problems(release)["manifest.json"]
    with pytest.raises(DataError):
        data.open_release(release)


def rewrite(release: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], shard: str | None = None) -> str:
    """Change a shard and make all its hashes fit again, so that only the contracts can find it; returns its path."""
    name = shard or next(p for p in sorted(manifest.read(release)["files"]) if p.startswith(f"{table}/train"))
    frame = change(pl.read_parquet(release / name))
    pq.write_table(to_arrow(frame, TABLES[table]), release / name, store_schema=False)
    entries = manifest.read(release)
    entries["files"][name] = file_entry(release / name, frame.height)
    files = [release / p for p in entries["files"] if p.startswith(f"{table}/")]
    whole = pl.concat([pl.read_parquet(f) for f in files])
    entries["tables"][table] |= {"rows": whole.height, "content_hash": content_hash(whole, TABLES[table])}
    manifest.write(release, entries)
    return name


def first(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Set a column in row 2."""
    here = pl.int_range(pl.len()) == 2
    return lambda f: f.with_columns(
        pl.when(here).then(pl.lit(value, f.schema[column])).otherwise(pl.col(column)).alias(column)
    )


CONTRACTS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "text": ("trajectories", first("trajectory", "Another text."), "text_sha256"),
    "words": ("trajectories", first("n_words", 1), "n_words"),
    "steps": ("trajectories", first("n_steps", 99), "n_steps"),
    "split": ("trajectories", first("split", "test"), "split is not train"),
    "study": ("trajectories", first("study_id", 1), "differ from its instance"),
    "twice": ("trajectories", lambda f: f[[0, 1, 2, 2, *range(3, f.height)]], "not unique"),
    "enum": ("findings", first("status", "maybe"), "status is none of"),
    "range": ("steps", first("end", 60_000), "beyond the trajectory"),
    "backwards": ("steps", first("start", 60_000), "start is not before end"),
    "orphan": ("steps", first("teacher", "nobody"), "its trajectory is not"),
    "step": ("findings", first("step", 77), "begin in the step"),
    "teachers": ("instances", first("n_teachers", 3), "n_teachers"),
    "gone": ("instances", lambda f: f[1:], "its instance is not"),
    "unit": ("instances", first("unit", "patient"), "unit is none of"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRACTS)
def test_broken_contracts_are_named_by_file_and_row(case: str, release: Path) -> None:
    table, change, what = CONTRACTS[case]
    rewrite(release, table, change)
    found = data.verify.verify(release)
    assert any(what in p.what and " row " in p.where for p in found.problems), found.problems
    ids = set(data.open_release(release).scan("instances").collect()["instance_id"])
    assert not any(i in p.where + p.what for p in found.problems for i in ids)


def test_a_patient_in_two_splits_is_found(release: Path) -> None:
    subject = pl.read_parquet(release / "instances/test-00000-of-00001.parquet")["subject_id"][0]
    rewrite(release, "instances", first("subject_id", subject))
    assert any("another split" in what for what in problems(release).values())


def test_rows_of_an_instance_in_two_shards_are_found(release: Path) -> None:
    one = pl.read_parquet(release / "instances/train-00000-of-00002.parquet")
    name = "instances/train-00001-of-00002.parquet"
    frame = pl.concat([pl.read_parquet(release / name), one[:1]])
    pq.write_table(to_arrow(frame, TABLES["instances"]), release / name, store_schema=False)
    assert "more than one shard" in " ".join(p.what for p in data.verify.verify(release).problems)


def test_a_shard_of_another_schema_is_named(release: Path) -> None:
    name = "instances/train-00000-of-00002.parquet"
    pl.read_parquet(release / name).with_columns(pl.col("n_teachers").cast(pl.Int64)).write_parquet(release / name)
    assert any(
        "columns differ from the schema" in p.what and "n_teachers" in p.what
        for p in data.verify.verify(release).problems
    )
    pq.write_table(pa.table({"x": [1]}), release / name)
    assert any("columns differ" in p.what for p in data.verify.verify(release).problems)


def test_parquet_says_what_it_is_and_nothing_a_reader_cannot_parse(sound: Path) -> None:
    for name in data.open_release(sound).manifest["files"]:
        if name.endswith(".parquet"):
            meta = pq.read_metadata(sound / name)
            assert set(meta.metadata) == {b"cxr_max"}
            assert json.loads(meta.metadata[b"cxr_max"]) == {"table": name.split("/")[0], "synthetic": True}


def test_row_groups_hold_one_teacher_of_a_block_and_no_text_is_in_the_footer(sound: Path) -> None:
    file = pq.ParquetFile(sound / SHARD)
    names = file.schema_arrow.names
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        teacher = group.column(names.index("teacher")).statistics
        assert teacher.min == teacher.max
        assert group.num_rows <= 3
        assert group.column(names.index("trajectory")).statistics is None
        rows = file.read_row_group(i).column("instance_id").to_pylist()
        assert rows == sorted(rows)


def test_open_and_scan(sound: Path, tmp_path: Path) -> None:
    release = data.open_release(sound)
    assert release.tables == ("instances", "trajectories", "steps", "findings")
    for name in release.tables:
        frame = release.scan(name).collect()
        assert frame.schema == TABLES[name].polars()
        assert frame.height == release.manifest["tables"][name]["rows"]
        assert (
            content_hash(frame.sample(fraction=1, shuffle=True, seed=1), TABLES[name])
            == release.manifest["tables"][name]["content_hash"]
        )
    assert len(release.files("trajectories", "val")) == 1
    with pytest.raises(UnknownNameError):
        release.scan("preferences")
    with pytest.raises(MissingFileError):
        data.open_release(tmp_path / "none")
    with pytest.raises(MissingFileError, match=r"manifest\.json"):
        data.open_release(tmp_path)


@pytest.mark.parametrize(
    "change", [{"format": 99}, {"version": 3}, {"files": []}, {"tables": {"instances": {}}}, {"files": {"a": {}}}]
)
def test_a_manifest_of_another_form_is_refused(change: dict[str, object], release: Path) -> None:
    entries = json.loads((release / "manifest.json").read_text())
    (release / "manifest.json").write_text(json.dumps(entries | change))
    with pytest.raises(DataError):
        data.open_release(release)
    assert not data.verify.verify(release).ok


def test_index_releases_hold_their_index_columns_only(sound: Path) -> None:
    table = manifest.table_of({**manifest.read(sound), "class": "index"}, "trajectories")
    assert "trajectory" not in table.names
    assert "prompt" not in table.names
    assert {"instance_id", "teacher", "generation", "text_sha256"} <= set(table.names)
