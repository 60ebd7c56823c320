"""Tables: types, nullable labels, lost zeros, filled views, and bad files."""

import gzip
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from cxr_max import mimic
from cxr_max.errors import DataError
from cxr_max.mimic import tables
from cxr_max.schema import FINDINGS
from tests.mimic import world


@pytest.fixture
def root(tmp_path: Path) -> mimic.MimicRoot:
    world.write_tables(tmp_path)
    return mimic.open_root(tmp_path)


def test_metadata_is_typed_and_its_times_regain_their_zeros(root: mimic.MimicRoot) -> None:
    frame = root.metadata().collect()
    assert frame.schema["subject_id"] == pl.Int32
    assert frame.height == len(world.IMAGES)
    assert frame["StudyDateTime"].to_list() == [
        datetime(2180, 5, 1, 8, 5, 56, 875_000),
        datetime(2180, 5, 2, 13, 30),
        None,
        datetime(2180, 5, 4, 23, 59, 59, 999_000),
        datetime(2180, 5, 5, 0, 0, 0, 500_000),
        None,
        None,
    ]


def test_missing_views_are_filled_and_marked(root: mimic.MimicRoot) -> None:
    frame = root.metadata().collect()
    assert frame["view"].to_list() == ["AP", "LL", "PA", "PA", None, "LATERAL", "XTABLE LATERAL"]
    assert frame["view_source"].to_list() == [
        "ViewPosition", "ViewPosition", "ViewCodeSequence", "ViewPosition", None, "ViewPosition", "ViewPosition",
    ]  # fmt: skip
    assert frame["view_class"].to_list() == ["frontal", "lateral", "frontal", "frontal", None, "lateral", "other"]


def test_an_empty_label_is_null_and_no_negative(root: mimic.MimicRoot) -> None:
    for labeler in ("chexpert", "negbio", "radiologist"):
        frame = root.labels(labeler).collect()
        assert frame.columns == ["subject_id", "study_id", "labeler", *FINDINGS]
        assert frame.schema["Edema"] == pl.Int8
        for row in frame.iter_rows(named=True):
            assert {f: row[f] for f in FINDINGS if row[f] is not None} == world.LABELS[row["study_id"]]


def test_the_radiologists_labels_regain_their_subjects(root: mimic.MimicRoot, tmp_path: Path) -> None:
    subjects = {study: subject for subject, study, _, _ in world.STUDIES}
    frame = root.labels("radiologist").collect()
    assert frame["subject_id"].to_list() == [subjects[s] for s in frame["study_id"]]
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(world.label_csv("study_id"))
    assert mimic.open_root(alone).labels("radiologist").collect()["subject_id"].null_count() == len(world.LABELS)


def test_splits_keep_mimics_spelling(root: mimic.MimicRoot) -> None:
    frame = root.splits().collect()
    assert frame.columns == ["dicom_id", "subject_id", "study_id", "split"]
    assert set(frame["split"]) == {"train", "validate", "test"}


def test_columns_are_found_by_header_in_any_order_with_a_byte_order_mark_and_extra_ones(tmp_path: Path) -> None:
    path = tmp_path / "cxr-record-list.csv"
    path.write_bytes("\ufeffpath,extra,study_id,,dicom_id,extra,subject_id\r\nx,1,5,,d,2,7\r\n".encode())
    assert tables.records(path).collect().rows() == [("d", 7, 5, "x")]


@pytest.mark.parametrize("header", ["{0}_provider_id", "{0}"])
def test_providers_are_read_by_long_and_short_headers(header: str, tmp_path: Path) -> None:
    path = tmp_path / "cxr-provider-list.csv"
    names = [header.format(p) for p in ("resident", "ordering", "attending")]
    path.write_text(f"study_id,{','.join(names)}\n50000201,,P1,P2\n")
    frame = tables.providers(path).collect()
    assert frame.columns == ["study_id", "ordering_provider_id", "attending_provider_id", "resident_provider_id"]
    assert frame.rows() == [(50000201, "P1", "P2", None)]


def test_a_missing_column_names_file_and_column(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.0.0-split.csv"
    path.write_text("dicom_id,study_id,fold\na,1,train\n")
    with pytest.raises(DataError, match=r"split\.csv lacks the columns subject_id, split; it has dicom_id"):
        mimic.open_root(tmp_path).splits()


def test_labels_outside_the_four_values_and_unknown_splits_are_errors(tmp_path: Path) -> None:
    labels = tmp_path / "mimic-cxr-2.0.0-chexpert.csv"
    labels.write_text(world.label_csv().replace("-1.0", "2.0"))
    with pytest.raises(Exception, match="column Edema: 1 values outside"):
        tables.labels(labels, "chexpert").collect()
    split = tmp_path / "mimic-cxr-2.0.0-split.csv"
    split.write_text("dicom_id,study_id,subject_id,split\na,1,2,val\n")
    with pytest.raises(Exception, match="column split: 1 rows"):
        tables.splits(split).collect()


TRUNCATED = gzip.compress(b"dicom_id,study_id,subject_id,split\n" + b"a,1,2,train\n" * 9_000) + b"\0"


BROKEN = {
    "empty": b"",
    "another encoding": b"\xff\xfe\x00\x01",
    "truncated": gzip.compress(b"dicom_id,x\n" * 9_000)[:60],
    "a web page": b"<html>",
    "trailing byte": TRUNCATED,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_data_errors(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"split\.csv|table cannot be read"):
        tables.collect(tables.splits(path))


def test_a_label_file_with_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv"
    text = world.label_csv("study_id").replace("No Finding", "No Findings").replace("Lung Opacity", "Airspace Opacity")
    path.write_text(text)
    frame = tables.labels(path, "radiologist").collect()
    assert frame.filter(pl.col("study_id") == 50000203)["No Finding"].item() == 1


def test_collecting_broken_rows_is_a_data_error_that_quotes_no_cell(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.0.0-split.csv"
    path.write_text("dicom_id,study_id,subject_id,split\na,secretcell,2,train\n")
    with pytest.raises(DataError) as caught:
        tables.collect(tables.splits(path))
    assert "secretcell" not in f"{caught.value}{caught.value.__cause__}"
    path.write_text("dicom_id,study_id,subject_id,split\na,1,2,val\n")
    with pytest.raises(DataError, match="column split: 1 rows outside of train, validate, test"):
        tables.collect(tables.splits(path))


def test_a_table_with_a_header_and_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(gzip.compress(b"dicom_id,study_id,subject_id,split\n"))
    assert tables.splits(path).collect().schema["subject_id"] == pl.Int32
    assert tables.splits(path).collect().height == 0
