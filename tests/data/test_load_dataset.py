"""`cxr_max.load_dataset` and the builder: tables, splits, streaming, workers, what is cached and where."""

import json
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxr_max
from cxr_max.data import builder, intact, locate, places, splits
from cxr_max.data import manifest as manifests
from cxr_max.errors import DataError, MissingFileError, RestrictedDataError, UnknownNameError, UsageError
from tests.data import handmade


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return handmade.write(tmp_path / "release", synthetic=False)


def arrow_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.arrow"))


@pytest.mark.parametrize("table", ["instances", "trajectories", "steps", "consensus", "preferences"])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_table_gives_the_rows_that_were_written(release: Path, table: str, streaming: bool) -> None:
    loaded = cxr_max.load_dataset(table, release=release, streaming=streaming)
    names = cxr_max.schema.table(table).names
    assert list(loaded) == ["train", "validation", "test"]
    got = [row for split in loaded.values() for row in split]
    wanted = [{n: row[n] for n in names} for row in handmade.rows()[table]]
    keys = cxr_max.schema.table(table).keys
    assert sorted(map(_plain, got), key=lambda r: [r[k] for k in keys]) == sorted(
        map(_plain, wanted), key=lambda r: [r[k] for k in keys]
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    struct = row.get("decoding")
    empty = isinstance(struct, dict) and all(v is None for v in struct.values())
    row = {**row, "decoding": None} if empty else row
    weights = row.get("weights")
    return {**row, "weights": [round(w, 5) for w in weights]} if weights else row


@pytest.mark.parametrize(
    ("said", "rows"),
    [("train", 6), ("validation", 2), ("validate", 2), ("val", 2), ("dev", 2), ("valid", 2), ("test", 2),
     ("train+val", 8), ("train[:50%]+dev", 5), ("validate[:1]", 1), ("all", 10)],
)  # fmt: skip
def test_split_names_and_their_aliases(release: Path, said: str, rows: int) -> None:
    assert len(cxr_max.load_dataset("instances", release=release, split=said)) == rows


def test_lists_of_splits_and_read_instructions(release: Path) -> None:
    both = cxr_max.load_dataset("instances", release=release, split=["train", "val"])
    assert [len(d) for d in both] == [6, 2]
    half = datasets.ReadInstruction("dev", to=50, unit="%")
    assert len(cxr_max.load_dataset("instances", release=release, split=half)) == 1
    assert len(cxr_max.load_dataset("instances", release=release, split=datasets.Split.VALIDATION)) == 2


def test_an_unknown_split_is_an_error_that_lists_the_splits(release: Path) -> None:
    with pytest.raises(ValueError, match="validation"):
        cxr_max.load_dataset("instances", release=release, split="holdout")


@given(st.text(max_size=20))
def test_names_that_are_no_alias_are_left_alone(name: str) -> None:
    known = {"validate", "val", "dev", "valid", "train", "test", "validation"}
    if name.strip().lower() not in known and not set(name) & set("[+"):
        assert splits.to_hf(name) == name.strip()


def test_the_column_keeps_mimics_spelling(release: Path) -> None:
    assert set(cxr_max.load_dataset("instances", release=release, split="validation")["split"]) == {"validate"}


def test_the_choice_is_printed_and_kept(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = cxr_max.load_dataset("instances", release=release, split="train")
    short = json.loads((release / "manifest.json").read_text())["release_hash"][:12]
    line = f"cxr-max 1.0.0 ({short}) from {release}"
    assert capsys.readouterr().err.splitlines()[0] == line
    assert ds.info.version.description == line
    assert str(ds.info.version) == "1.0.0"


def test_a_synthetic_version_is_kept_whole(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "r", version="0.0.0+synthetic.7")
    ds = cxr_max.load_dataset("instances", release=path, split="train")
    assert str(ds.info.version) == "0.0.0"
    assert "cxr-max 0.0.0+synthetic.7 (" in ds.info.version.description


def test_what_is_materialised_is_private_and_not_in_the_shared_cache(
    release: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "shared")
    before = os.umask(0)
    try:
        datasets.load_dataset("cxr-max", "trajectories", release=release)
        cxr_max.load_dataset("preferences", release=release, num_proc=2)
    finally:
        os.umask(before)
    cache = own_folders / "cache"
    assert arrow_files(cache)
    assert not (tmp_path / "shared").exists()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    for path in [cache / "datasets", *(cache / "datasets" / "cxr-max").rglob("*")]:
        if path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_shared_cache_is_refused_when_asked_for(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(RestrictedDataError, match="shared"):
        cxr_max.load_dataset("instances", release=release, cache_dir=tmp_path / "hf" / "datasets")
    synthetic = handmade.write(tmp_path / "s", synthetic=True)
    assert len(cxr_max.load_dataset("instances", release=synthetic, cache_dir=tmp_path / "hf" / "datasets")) == 3


def test_a_cache_of_ones_own_is_made_private(release: Path, tmp_path: Path) -> None:
    cxr_max.load_dataset("instances", release=release, cache_dir=tmp_path / "mine")
    folder = tmp_path / "mine" / "cxr-max-private"
    assert arrow_files(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["argument", "environment", "layout"])
def test_a_cache_inside_a_mimic_root_is_refused(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    root = tmp_path / "mimic"
    (root / "sub").mkdir(parents=True)
    monkeypatch.setenv("CXR_MAX_CACHE", str(root / "sub" / "cache"))
    if how == "environment":
        monkeypatch.setenv("CXR_MAX_ROOTS", f"mimic-cxr-jpg={root}")
    if how == "layout":
        (root / "files" / "p10").mkdir(parents=True)
    before = sorted(root.rglob("*"))
    with pytest.raises(RestrictedDataError, match="inside the MIMIC-CXR root"):
        places.arrow_root(locate.read(release), None, root if how == "argument" else None)
    with pytest.raises(RestrictedDataError, match="inside the MIMIC-CXR root"):
        cxr_max.load_dataset("instances", release=release, mimic_root=root if how == "argument" else None)
    assert sorted(root.rglob("*")) == before


def test_a_cache_that_cannot_be_made_is_said_plainly(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RestrictedDataError, match="cannot make"):
        cxr_max.load_dataset("instances", release=release)


def test_a_release_changed_in_place_is_never_served_from_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "release"
    handmade.write(path, text="old ")
    assert "old" in cxr_max.load_dataset(release=path, split="train")[0]["trajectory"]
    handmade.write(path, text="new ")
    assert "new" in cxr_max.load_dataset(release=path, split="train")[0]["trajectory"]
    handmade.write(path, text="old ")
    assert "old" in cxr_max.load_dataset(release=path, split="train")[0]["trajectory"]


def test_two_versions_in_turn(tmp_path: Path) -> None:
    paths = {v: handmade.write(tmp_path / v, version=v, text=f"v{v} ", instances=4) for v in ("1.0.0", "1.1.0")}
    for version in ("1.0.0", "1.1.0", "1.0.0"):
        ds = cxr_max.load_dataset(release=paths[version], split="train")
        assert f"v{version} " in ds[0]["trajectory"]
        assert str(ds.info.version) == version
        assert str(paths[version]) in ds.info.version.description


def test_a_copy_of_a_release_shares_the_arrow_files_but_names_its_own_place(tmp_path: Path, own_folders: Path) -> None:
    a, b = handmade.write(tmp_path / "a"), handmade.write(tmp_path / "b")
    cxr_max.load_dataset("instances", release=a, split="train")
    made = arrow_files(own_folders / "cache")
    ds = cxr_max.load_dataset("instances", release=b, split="train")
    assert arrow_files(own_folders / "cache") == made
    assert ds.info.version.description.endswith(str(b))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "swap"])
def test_a_parquet_file_changed_without_its_manifest_is_found_even_when_cached(
    release: Path, damage: str, streaming: bool
) -> None:
    cxr_max.load_dataset("instances", release=release)
    victim = release / "instances" / "train-00000-of-00001.parquet"
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "truncate":
        victim.write_bytes(content[:-1])
    elif damage == "remove":
        victim.unlink()
    else:
        victim.write_bytes((release / "instances" / "test-00000-of-00001.parquet").read_bytes())
    with pytest.raises(MissingFileError if damage == "remove" else DataError, match="instances/train-00000") as caught:
        cxr_max.load_dataset("instances", release=release, streaming=streaming)
    assert "cxr-max verify" in str(caught.value)


def test_a_broken_note_of_what_was_hashed_only_means_hashing_again(release: Path, own_folders: Path) -> None:
    cxr_max.load_dataset("instances", release=release)
    note = next((own_folders / "cache" / "intact").glob("*.json"))
    for broken in (b"", b"[]", b'{"manifest": 1}', b"\xff"):
        note.write_bytes(broken)
        assert len(cxr_max.load_dataset("instances", release=release, split="train")) == 6


def test_an_unchanged_file_is_hashed_once(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cxr_max.load_dataset("instances", release=release)
    monkeypatch.setattr(intact, "_compare", lambda *a: pytest.fail("hashed again"))
    cxr_max.load_dataset("instances", release=release)


def test_workers_share_the_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "ROWS_PER_SHARD", 10)
    path = handmade.write(tmp_path / "r", instances=20)
    one = cxr_max.load_dataset(release=path, split="train", streaming=True)
    assert one.n_shards > 2
    two = cxr_max.load_dataset(release=path, split="train", num_proc=2)
    assert two["text_sha256"] == [row["text_sha256"] for row in one]
    assert len(two) == 7 * 12


def test_nested_preference_groups_survive_in_datasets_polars_and_a_dataloader(release: Path) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    wanted = {r["instance_id"]: r["rejected"] for r in handmade.rows()["preferences"]}
    ds = cxr_max.load_dataset("preferences", release=release, split="train")
    assert {r["instance_id"]: r["rejected"] for r in ds} == {k: wanted[k] for k in ds["instance_id"]}
    frame = pl.scan_parquet(release / "preferences" / "*.parquet").collect()
    assert {r["instance_id"]: r["rejected"] for r in frame.to_dicts()} == wanted
    assert {r["instance_id"]: r["rejected"] for r in ds.to_polars().to_dicts()} == {
        k: wanted[k] for k in ds["instance_id"]
    }
    stream = cxr_max.load_dataset("preferences", release=release, split="train", streaming=True)
    # Each spawned worker imports torch; one of them is enough to cross a process boundary.
    for source, workers in ((ds, 0), (stream, 1)):
        loader = torch_data.DataLoader(
            source,
            batch_size=2,
            num_workers=workers,
            collate_fn=list,
            multiprocessing_context="spawn" if workers else None,
        )
        rows = [row for batch in loader for row in batch]
        assert {r["instance_id"]: r["rejected"] for r in rows} == {k: wanted[k] for k in ds["instance_id"]}


def test_a_builder_survives_pickling(release: Path) -> None:
    made = builder.CxrMax(config_name="preferences", release=release)
    again = pickle.loads(pickle.dumps(made))
    again.download_and_prepare()
    assert len(again.as_dataset(split="val")) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "answers"}, UnknownNameError),
        ({"columns": ["x"]}, UsageError),
        ({"streaming": True, "num_proc": 2}, UsageError),
        ({"name": "findings"}, UnknownNameError),
        ({"revision": "v9.9.9"}, UsageError),
    ],
)
def test_wrong_use(release: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        cxr_max.load_dataset(**{"release": release, **arguments})


@pytest.mark.parametrize("revision", ["1.0.0", "v1.0.0"])
def test_the_right_revision_of_a_folder(release: Path, revision: str) -> None:
    assert len(cxr_max.load_dataset("instances", release=release, revision=revision, split="test")) == 2


def test_features_of_ones_own_get_their_own_arrow_files(release: Path) -> None:
    plain = cxr_max.load_dataset("consensus", release=release, split="train")
    features = plain.features.copy()
    features["trajectory"] = datasets.Value("large_string")
    cast = cxr_max.load_dataset("consensus", release=release, split="train", features=features)
    assert cast.features["trajectory"].dtype == "large_string"
    assert cxr_max.load_dataset("consensus", release=release, split="train").features == plain.features
    assert cast.cache_files != plain.cache_files


def test_a_table_without_rows_in_a_split_and_an_index_without_texts(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "r", instances=2)
    assert list(cxr_max.load_dataset("instances", release=path)) == ["train"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.update(version="one"), DataError),
        (lambda m: m.pop("tables"), DataError),
        (lambda m: m["files"].update({"../../etc/passwd": {"rows": 1, "bytes": 1, "sha256": ""}}), DataError),
        (lambda m: m["files"].update({"/etc/passwd": {"rows": 1, "bytes": 1, "sha256": ""}}), DataError),
    ],
)
def test_manifests_that_break_their_contract(release: Path, change: Any, error: type[Exception]) -> None:
    manifest = manifests.read(release)
    change(manifest)
    (release / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(error):
        cxr_max.load_dataset("instances", release=release)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_manifests_that_are_none(release: Path, content: bytes) -> None:
    (release / "manifest.json").write_bytes(content)
    with pytest.raises(DataError):
        cxr_max.load_dataset("instances", release=release)
