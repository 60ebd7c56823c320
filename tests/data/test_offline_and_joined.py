"""The built-in synthetic release with nothing prepared, and rows joined to a MIMIC-shaped tree."""

import stat
from pathlib import Path
from typing import Any

import datasets
import pytest

import cxr_max
from cxr_max import data
from cxr_max.data import builder, synthetic
from cxr_max.errors import MissingFileError, RestrictedDataError, UsageError
from tests.data import toy
from tests.mimic import world


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic") / "cache"


@pytest.fixture
def offline(shared_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_folders: Path) -> Path:
    monkeypatch.setenv("CXR_MAX_CACHE", str(shared_cache))
    monkeypatch.chdir(tmp_path)
    return shared_cache


def test_synthetic_works_with_nothing_prepared(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = datasets.load_dataset("cxr-max", "synthetic")
    assert set(ds) == {"train", "validation", "test"}
    assert {t.id for t in cxr_max.TEACHERS} == set(ds["train"]["teacher"])
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("cxr-max 0.0.0+synthetic.0 (")
    assert line.endswith("from the built-in synthetic world")
    assert ds["train"].info.version.description == line
    stream = cxr_max.load_dataset("synthetic", split="val", streaming=True)
    assert [r["text_sha256"] for r in stream] == ds["validation"]["text_sha256"]
    assert stat.S_IMODE((offline / "synthetic").stat().st_mode) == 0o700
    assert not list((offline / "synthetic").glob(".*"))


def test_the_other_tables_of_the_synthetic_release(offline: Path) -> None:
    findings = cxr_max.load_dataset("findings", release="synthetic", split="train")
    assert set(findings.column_names) == set(cxr_max.schema.table("findings").names)
    assert len(findings) > 100
    assert cxr_max.open_release(synthetic.folder()).verify().ok


def test_synthetic_is_no_answer_when_none_was_named(offline: Path) -> None:
    synthetic.folder()
    with pytest.raises(MissingFileError, match="none is in reach"):
        cxr_max.load_dataset("trajectories")
    with pytest.raises(UsageError, match="built in"):
        cxr_max.load_dataset("synthetic", release="somewhere")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return world.write_world(tmp_path / "mimic")


@pytest.fixture
def release(tmp_path: Path) -> Any:
    rows = toy.rows(len(world.IMAGES))
    for row, (subject, study, image, split) in zip(rows, [i for i in world.IMAGES for _ in range(7)], strict=True):
        row["image"] = f"files/{world.tree_path(subject, study, image)}.jpg"
        row["split"] = split
    return toy.release(tmp_path, records=rows)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("table", ["trajectories", "instances", "findings", "steps"])
def test_rows_come_with_image_labels_and_report(release: Any, root: Path, table: str, streaming: bool) -> None:
    plain = cxr_max.load_dataset(table, release=release.path, split="train")
    joined = cxr_max.load_dataset(table, release=release.path, mimic_root=root, split="train", streaming=streaming)
    rows = list(joined)
    assert len(rows) == len(plain) > 0
    assert [r["instance_id"] for r in rows] == plain["instance_id"]
    for row in rows:
        assert row["image"].size == (20, 24)
        assert "effusion" in row["impression"]
        assert row["image_status"] == "matched"
    own = [n for n in plain.column_names if n in rows[0]]
    assert own == plain.column_names
    by_study = {r["study_id"]: r for r in rows if "study_id" in r}
    if 50000201 in by_study:
        assert by_study[50000201]["Cardiomegaly"] == 1
        assert by_study[50000201]["Pneumothorax"] == 0
        assert by_study[50000201]["Edema"] is None


def test_the_one_line_with_a_root_in_the_private_cache(
    release: Any, root: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "shared")
    ds = datasets.load_dataset("cxr-max", release=str(release.path), mimic_root=str(root), split="dev")
    assert ds[0]["image"].size == (20, 24)
    assert not (tmp_path / "shared").exists()
    before = {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    assert {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()} == before
    with pytest.raises(RestrictedDataError, match="inside the MIMIC-CXR root"):
        cxr_max.load_dataset(release=release.path, mimic_root=root, cache_dir=root / "cache")
    assert not (root / "cache").exists()


def test_a_change_of_the_root_is_not_answered_from_the_cache(release: Any, root: Path) -> None:
    def cardiomegaly() -> set[Any]:
        ds = cxr_max.load_dataset("instances", release=release.path, mimic_root=root, split="train")
        return {r["Cardiomegaly"] for r in ds if r["study_id"] == 50000201}

    assert cardiomegaly() == {1}
    for name in ("mimic-cxr-2.0.0-chexpert.csv.gz", "mimic-cxr-2.0.0-negbio.csv.gz"):
        (root / name).unlink()
        changed = world.label_csv().replace("10000101,50000201,,1.0", "10000101,50000201,,-1.0")
        (root / name.removesuffix(".gz")).write_text(changed)
    assert cardiomegaly() == {-1}


def test_a_joined_builder_survives_pickling(release: Any, root: Path) -> None:
    import pickle

    made = builder.CxrMax(config_name="instances", release=release.path, mimic_root=root)
    again = pickle.loads(pickle.dumps(made))
    again.download_and_prepare()
    assert again.as_dataset(split="val")[0]["image"].size == (20, 24)


def test_roots_that_are_none(release: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(MissingFileError):
            cxr_max.load_dataset(release=release.path, mimic_root=wrong)
    with pytest.raises(UsageError):
        cxr_max.load_dataset(release=release.path, mimic_root=True)


def test_every_table_of_a_built_release_loads_with_plain_datasets(release: Any, tmp_path: Path) -> None:
    for table in release.tables:
        plain = datasets.load_dataset(str(release.path), table, cache_dir=str(tmp_path / "c"))
        ours = cxr_max.load_dataset(table, release=release)
        assert {s: d.to_list() for s, d in plain.items()} == {s: d.to_list() for s, d in ours.items()}
        assert plain["train"].features == ours["train"].features


def test_the_documents_of_a_built_release_are_valid(release: Any) -> None:
    mlc = pytest.importorskip("mlcroissant")
    opened = mlc.Dataset(str(release.path / "croissant.json"))
    assert not opened.metadata.ctx.issues.errors
    assert len(list(opened.records("trajectories"))) == release.manifest["tables"]["trajectories"]["rows"]
    assert "(synthetic)" in (release.path / "README.md").read_text(encoding="utf-8")
    assert data.card.CITATION.splitlines()[0] in (release.path / "README.md").read_text(encoding="utf-8")
