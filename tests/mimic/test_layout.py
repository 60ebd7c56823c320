"""Every shape a local copy has is recognised, and nothing in it is touched."""

import gzip
import os
from pathlib import Path

import pytest

from cxr_max import mimic, roots
from cxr_max.errors import MissingFileError, UnknownNameError
from tests.mimic import world


def everything(root: mimic.MimicRoot) -> bool:
    return all(root.has(part) for part in ("jpg", "reports", "metadata", "split", "chexpert", "negbio", "radiologist"))


def test_the_plain_tree(tmp_path: Path) -> None:
    root = mimic.open_root(world.write_world(tmp_path))
    assert everything(root)
    assert not root.has("dicom")
    assert root.layout.versions == {"mimic-cxr-jpg": "2.1.0", "mimic-cxr": "2.x"}
    assert not root.synthetic


def test_the_tree_of_wget_with_stray_index_files(tmp_path: Path) -> None:
    top = tmp_path / "physionet.org" / "files"
    world.write_tables(top / "mimic-cxr-jpg" / "2.1.0")
    world.write_images(top / "mimic-cxr-jpg" / "2.1.0" / "files")
    world.write_reports(top / "mimic-cxr" / "2.0.0" / "files")
    for folder in list(top.rglob("*")):
        if folder.is_dir():
            (folder / "index.html").write_text("<html>")
    root = mimic.open_root(tmp_path)
    assert everything(root)
    assert root.layout.versions == {"mimic-cxr-jpg": "2.1.0", "mimic-cxr": "2.0.0"}


def test_gunzipped_tables_images_and_reports_in_folders_of_their_own(tmp_path: Path) -> None:
    world.write_tables(tmp_path / "tables", zipped=False)
    world.write_images(tmp_path / "resized_512", flat=True)
    (tmp_path / "text").mkdir()
    world.zip_reports(tmp_path / "text" / "mimic-cxr-reports.zip")
    root = mimic.open_root(tmp_path / "tables", tmp_path / "resized_512", tmp_path / "text")
    assert everything(root)
    assert root.layout.flats == [tmp_path / "resized_512"]


def test_tables_only_and_images_only(tmp_path: Path) -> None:
    world.write_tables(tmp_path / "a")
    world.write_images(tmp_path / "b")
    tables, images = mimic.open_root(tmp_path / "a"), mimic.open_root(tmp_path / "b")
    assert tables.has("split")
    assert not tables.has("jpg")
    assert images.has("jpg")
    assert not images.has("split")
    with pytest.raises(MissingFileError, match=r"mimic-cxr-2\.x-split\.csv"):
        images.splits()


def test_a_root_given_too_deep_or_through_a_link(tmp_path: Path) -> None:
    world.write_images(tmp_path / "data" / "files")
    assert mimic.open_root(tmp_path / "data" / "files" / "p10").layout.trees == [tmp_path / "data" / "files"]
    (tmp_path / "link").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert mimic.open_root(tmp_path / "link").has("jpg")


def test_dicom_and_jpg_side_by_side(tmp_path: Path) -> None:
    world.write_images(tmp_path)
    subject, study, image, _ = world.IMAGES[0]
    (tmp_path / world.tree_path(subject, study, f"{image}.dcm")).write_bytes(b"\0" * 128 + b"DICM")
    root = mimic.open_root(tmp_path)
    assert root.has("dicom")
    assert root.has("jpg")


def test_the_gunzipped_table_is_preferred_to_the_same_one_gzipped(tmp_path: Path) -> None:
    world.write_tables(tmp_path)
    name = "mimic-cxr-2.0.0-split.csv"
    (tmp_path / name).write_bytes(gzip.decompress((tmp_path / f"{name}.gz").read_bytes()))
    assert mimic.open_root(tmp_path).table_file("split").name == name


def test_hidden_files_and_files_that_look_alike_are_no_tables(tmp_path: Path) -> None:
    world.write_tables(tmp_path)
    for name in ("._mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-split.csv.bak", "my-mimic-cxr-2.0.0-split.csv"):
        (tmp_path / name).write_text("x")
    assert len(mimic.open_root(tmp_path).layout.tables["split"]) == 1


def test_a_read_only_root_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    world.write_world(tmp_path)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {p: p.stat().st_mtime_ns for p in [tmp_path, *tmp_path.rglob("*")]}
    root = mimic.open_root(tmp_path)
    assert everything(root)
    root.metadata().collect()
    assert {p: p.stat().st_mtime_ns for p in [tmp_path, *tmp_path.rglob("*")]} == before
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_nothing_there_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nothing of MIMIC-CXR"):
        mimic.open_root(tmp_path)
    with pytest.raises(MissingFileError, match="no folder"):
        mimic.open_root(tmp_path / "none")
    with pytest.raises(MissingFileError, match="there are none"):
        mimic.open_root()


def test_the_configured_roots_are_used_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write_tables(tmp_path / "t")
    monkeypatch.setenv(roots.ENVIRONMENT, f"mimic-cxr-jpg={tmp_path / 't'}")
    assert mimic.open_root().has("split")


def test_unknown_parts_are_named(tmp_path: Path) -> None:
    root = mimic.open_root(world.write_world(tmp_path))
    with pytest.raises(UnknownNameError, match="chexpert"):
        root.has("labels")
    with pytest.raises(UnknownNameError, match="negbio"):
        root.labels("gpt")


def test_synthetic_only_when_all_of_it_is_marked(tmp_path: Path) -> None:
    made, real = tmp_path / "made" / "mimic", tmp_path / "real"
    world.write_world(made)
    world.write_tables(real)
    (made / "SYNTHETIC").touch()
    assert mimic.open_root(made).synthetic
    assert mimic.open_root(made / "files").synthetic
    assert mimic.open_root(tmp_path / "made").synthetic
    assert not mimic.open_root(made, real).synthetic
    assert not mimic.open_root(tmp_path).synthetic


def test_the_search_does_not_enter_patients_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write_world(tmp_path)
    entered: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr("cxr_max.mimic.layout.os.scandir", lambda p: entered.append(Path(p).name) or scandir(p))
    mimic.open_root(tmp_path)
    assert not [name for name in entered if name.startswith(("p1", "s5"))]
