"""Reports from trees and zips: found, missing, broken, in odd encodings."""

import os
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max import mimic
from cxr_max.errors import DataError
from cxr_max.mimic import reports
from cxr_max.schema import table
from tests.mimic import world

INSTANCES = pl.DataFrame(
    [(i, s, t) for s, t, i, _ in world.IMAGES],
    schema={"instance_id": pl.String, "subject_id": pl.Int32, "study_id": pl.Int32},
    orient="row",
)


def test_references_from_a_tree(tmp_path: Path) -> None:
    frame = mimic.references(mimic.open_root(world.write_world(tmp_path)), INSTANCES)
    assert frame.schema == table("references").polars()
    assert frame["instance_id"].to_list() == INSTANCES["instance_id"].to_list()
    assert set(frame["report_status"]) == {"found"}
    assert [str(s) in t for s, t in frame.select("study_id", "findings").iter_rows()] == [True] * frame.height


@pytest.mark.parametrize("prefix", ["files/", "", "mimic-cxr-reports/files/"])
def test_references_straight_from_the_zip_are_the_same(prefix: str, tmp_path: Path) -> None:
    from_tree = mimic.references(mimic.open_root(world.write_world(tmp_path / "a")), INSTANCES)
    (tmp_path / "b").mkdir()
    world.zip_reports(tmp_path / "b" / "mimic-cxr-reports.zip", prefix)
    for jobs in (1, 2):
        from_zip = mimic.references(mimic.open_root(tmp_path / "b"), INSTANCES, jobs=jobs)
        assert from_zip.equals(from_tree)


def test_several_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_CHUNK", 2)
    world.write_tables(tmp_path)
    world.zip_reports(tmp_path / "mimic-cxr-reports.zip")
    root = mimic.open_root(tmp_path)
    assert mimic.references(root, INSTANCES, jobs=2).equals(mimic.references(root, INSTANCES))


def test_what_is_missing_empty_huge_or_a_folder_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = world.write_world(tmp_path) / "files"
    paths = [files / f"{world.tree_path(s, t)}.txt" for s, t, _, _ in world.STUDIES]
    paths[0].unlink()
    paths[1].write_bytes(b"")
    paths[2].write_bytes(b"a" * (reports.MAX_BYTES + 1))
    paths[3].unlink()
    paths[3].mkdir()
    found = dict(mimic.references(mimic.open_root(tmp_path), INSTANCES).select("study_id", "report_status").iter_rows())
    assert found == {
        50000201: "missing",
        50000202: "no_usable_text",
        50000203: "unreadable",
        50000204: "unreadable",
        50000205: "found",
        50000206: "found",
    }


def test_a_zip_with_a_bomb_a_broken_member_and_one_missing(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-reports.zip"
    names = [f"files/{world.tree_path(s, t)}.txt" for s, t, _, _ in world.STUDIES]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(names[0], b"\0" * 50_000_000)
        archive.writestr(names[1], world.REPORT)
        archive.writestr(names[2], world.REPORT)
        where = archive.infolist()[1].header_offset
    content = bytearray(path.read_bytes())
    content[where + 80 : where + 120] = b"\xff" * 40
    path.write_bytes(content)
    statuses = mimic.references(mimic.open_root(tmp_path), INSTANCES).unique("study_id", maintain_order=True)
    assert statuses["report_status"].to_list() == ["unreadable", "unreadable", "found", *["missing"] * 3]


def test_no_zip_behind_the_name(tmp_path: Path) -> None:
    (tmp_path / "mimic-cxr-reports.zip").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(DataError, match="not a readable zip"):
        mimic.references(mimic.open_root(tmp_path), INSTANCES)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("naïve – 5 µm".encode(), "naïve – 5 µm"),
        ("naïve – 5 µm".encode("cp1252"), "naïve – 5 µm"),
        ("naïve".encode("utf-16"), "naïve"),
        (b"\xef\xbb\xbfabc\r\nd\re", "abc\nd\ne"),
        (b"a\x00b\x81", "a\x00b\ufffd"),
    ],
)
def test_odd_encodings(content: bytes, text: str) -> None:
    assert reports.decode(content) == text


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read(content: bytes) -> None:
    assert "\r" not in reports.decode(content)


def test_members_are_read_as_zipfile_reads_them(tmp_path: Path) -> None:
    from cxr_max.mimic.archive import ReportZip

    path = tmp_path / "mimic-cxr-reports.zip"
    names = [f"p10/p1000{i:04d}/s5000{i:04d}.txt" for i in range(300)]
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            info = zipfile.ZipInfo(f"{'files/' * (i % 3)}{name}")
            info.extra = b"\x01\x00\x04\x00abcd" * (i % 40)
            info.comment = b"c" * (i % 7)
            info.compress_type = zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED
            archive.writestr(info, f"text {i}\n" * i)
        archive.comment = b"a comment PK\x05"
    ours = ReportZip(path)
    with zipfile.ZipFile(path) as theirs:
        for info in theirs.infolist():
            assert ours.read(info.filename[-27:], reports.MAX_BYTES) == theirs.read(info)
    assert "p10/p10009999/s50009999.txt" not in ours
    assert ours.read(names[299], 10) is None


def test_a_zip_of_more_members_than_the_old_format_counts(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(66_000):
            archive.writestr(f"files/p10/p10{i:06d}/s50{i:06d}.txt", b"")
        archive.writestr(f"files/{world.tree_path(10000101, 50000201)}.txt", world.REPORT)
    frame = mimic.references(mimic.open_root(tmp_path), INSTANCES)
    assert frame["report_status"].to_list() == ["found", "found", *["missing"] * 5]


def test_a_pipe_in_the_place_of_a_report_does_not_wait(tmp_path: Path) -> None:
    path = world.write_world(tmp_path) / "files" / f"{world.tree_path(10000101, 50000201)}.txt"
    path.unlink()
    os.mkfifo(path)
    frame = mimic.references(mimic.open_root(tmp_path), INSTANCES)
    assert frame["report_status"][0] in ("unreadable", "no_usable_text")
