"""The readers against the real files that a registry package ships, and against broken ones."""

import gzip
import importlib.util
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from cxr_max.errors import DataError, MissingFileError
from cxr_max.evaluation.sets import chestx_det10, chestxray14, chexpert, ms_cxr_t, open_i


@pytest.fixture(scope="module")
def real() -> Path:
    """The data folder of torchxrayvision; it is never imported."""
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("torchxrayvision is not installed (tests/data-packages.txt)")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _counts(frame: pl.DataFrame, classes: list[str]) -> dict[str, int]:
    return {c: int(frame[c].sum()) for c in classes}


def test_real_chestxray14_counts(real: Path) -> None:
    frame = chestxray14.labels([real], test_only=False)
    assert (frame.height, frame["patient"].n_unique()) == (112_120, 30_805)
    assert _counts(frame, list(chestxray14.CLASSES)) == {
        "Infiltration": 19_894, "Effusion": 13_317, "Atelectasis": 11_559, "Nodule": 6_331, "Mass": 5_782,
        "Pneumothorax": 5_302, "Consolidation": 4_667, "Pleural Thickening": 3_385, "Cardiomegaly": 2_776,
        "Emphysema": 2_516, "Edema": 2_303, "Fibrosis": 1_686, "Pneumonia": 1_431, "Hernia": 227,
    }  # fmt: skip
    none = frame.filter(pl.sum_horizontal(list(chestxray14.CLASSES)) == 0)
    assert none.height == 60_361


def test_real_chexpert_counts(real: Path) -> None:
    frame = chexpert.read_labels(real / "chexpert_train.csv.gz", "Path")
    assert (frame.height, frame["patient"].n_unique()) == (187_641, 64_540)
    assert all(frame[c].null_count() > 0 for c in chexpert.CLASSES)
    assert {v for c in chexpert.CLASSES for v in frame[c].drop_nulls().unique()} == {0, 1}


def test_real_open_i_counts(real: Path) -> None:
    frame = open_i.labels([real])
    assert frame.height == 7_470
    assert _counts(frame, list(open_i.CLASSES)) == {
        "Opacity": 819, "Granuloma": 781, "Atelectasis": 711, "Cardiomegaly": 493, "Calcified Granuloma": 416,
        "Effusion": 346, "Emphysema": 193, "Fracture": 189, "Infiltration": 174, "Pneumonia": 158, "Nodule": 157,
        "Edema": 144, "Hernia": 97, "Pleural Thickening": 68, "Pneumothorax": 44, "Fibrosis": 39, "Mass": 13,
        "Lesion": 7,
    }  # fmt: skip
    assert frame.filter(pl.sum_horizontal(list(open_i.CLASSES)) == 0).height == 4_715


NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height]\n"


def test_chestxray14_keeps_the_official_test_images(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(NIH + "a.png,Mass|Edema,0,1,9,9\nb.png,No Finding,0,2,9,9\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "test_list.txt").write_text("b.png\n")
    assert chestxray14.labels([tmp_path])["image"].to_list() == ["b.png"]
    with gzip.open(tmp_path / "Data_Entry_2017.csv.gz", "wt") as file:
        file.write(NIH + "a.png,Mass|Edema,0,1,9,9\n")
    (tmp_path / "Data_Entry_2017_v2020.csv").unlink()
    row = chestxray14.labels([tmp_path], test_only=False).row(0, named=True)
    assert (row["Mass"], row["Edema"], row["Hernia"]) == (1, 1, 0)


def test_chexpert_test_file_wins_over_validation_and_minus_one_is_null(tmp_path: Path) -> None:
    head = "Path,Sex,No Finding,Edema,Atelectasis,Cardiomegaly,Consolidation,Pleural Effusion\n"
    (tmp_path / "valid.csv").write_text(
        head + "CheXpert-v1.0-small/valid/patient1/study1/view1_frontal.jpg,F,,1.0,0.0,-1.0,,1.0\n"
        "CheXpert-v1.0-small/valid/patient1/study1/view2_lateral.jpg,F,,1.0,0.0,-1.0,,1.0\n"
    )
    frame = chexpert.labels([tmp_path])
    assert frame.row(0, named=True) == {
        "study": "patient1/study1", "patient": "patient1", "Atelectasis": 0, "Cardiomegaly": None,
        "Consolidation": None, "Edema": 1, "Pleural Effusion": 1,
    }  # fmt: skip
    assert frame.height == 1
    (tmp_path / "groundtruth.csv").write_text(head.replace("Path", "Study") + "x/patient2/study1,F,0,1,0,0,0,1\n")
    assert chexpert.labels([tmp_path])["study"].to_list() == ["patient2/study1"]


def test_chexpert_view_is_frontal(tmp_path: Path) -> None:
    names = ["p1/study1/view1_lateral.jpg", "p1/study1/view2_frontal.jpg", "p2/study1/view1.jpg"]
    files = {n: Path(n) for n in names}
    assert chexpert.view("p1/study1", files) == Path(names[1])
    assert chexpert.view("p2/study1", files) == Path(names[2])
    assert chexpert.view("p3/study1", files) is None


def test_chestx_det10(tmp_path: Path) -> None:
    records = [
        {"file_name": "1.png", "syms": ["Mass", "Mass"], "boxes": [[0, 0, 1, 1]] * 2},
        {"file_name": "2.png", "syms": []},
    ]
    (tmp_path / "test.json").write_text(json.dumps(records))
    assert chestx_det10.labels([tmp_path])["Mass"].to_list() == [1, 0]
    for broken in ("{", '[{"file_name": "x"}]', '[{"file_name": "x", "syms": ["Nope"]}]'):
        (tmp_path / "test.json").write_text(broken)
        with pytest.raises(DataError):
            chestx_det10.labels([tmp_path])


MS_HEAD = "dicom_id,previous_dicom_id,subject_id,study_id,previous_study_id," + ",".join(
    f"{f}_progression,{f}_label_quality" for f in ms_cxr_t.FINDINGS.values()
)


def test_ms_cxr_t_ids_are_the_last_part_of_the_path(tmp_path: Path) -> None:
    path = tmp_path / "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
    path.write_text(f"{MS_HEAD}\np10/p10000001/s50000002/d2,d1,10000001,50000002,50000001,Stable,,,,improving,,,,,\n")
    row = ms_cxr_t.pairs([tmp_path]).row(0, named=True)
    assert (row["dicom_id"], row["previous_dicom_id"], row["subject_id"]) == ("d2", "d1", 10000001)
    assert (row["Consolidation"], row["Edema"], row["Pleural Effusion"]) == ("stable", None, "improving")
    path.write_text(f"{MS_HEAD}\nd2,d1,10000001,50000002,50000001,better,,,,,,,,,\n")
    with pytest.raises(DataError, match="improving, stable, worsening"):
        ms_cxr_t.pairs([tmp_path])
    path.write_text(f"{MS_HEAD}\nd2,d1,,50000002,50000001,stable,,,,,,,,,\n")
    with pytest.raises(DataError, match="an id is empty"):
        ms_cxr_t.pairs([tmp_path])


@pytest.mark.parametrize(
    "read", [chestxray14.labels, chexpert.labels, chestx_det10.labels, ms_cxr_t.pairs, open_i.labels]
)
def test_nothing_there_names_the_command_and_no_root_says_so(read: object, tmp_path: Path) -> None:
    def call(places: list[Path]) -> object:
        found = read(places)  # type: ignore[operator]
        return found

    with pytest.raises(MissingFileError, match="cxr-max roots set"):
        call([tmp_path])
    with pytest.raises(MissingFileError, match="none is set"):
        call([])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"a,b\n1,2\n", "no column 'Image Index'"),
        (b"\xff\xfe\x00", "cannot be read|no column"),
    ],
)
def test_a_broken_table_names_file_and_column(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        chestxray14.labels([tmp_path])
    assert "Data_Entry_2017" in str(caught.value)


def test_open_i_reads_folders_and_refuses_what_is_not_xml(tmp_path: Path) -> None:
    inner = '<uId id="CXR1"/><MeSH><automatic>Calcified Granuloma</automatic></MeSH><parentImage id="i"/>'
    (tmp_path / "1.xml").write_text(f"<eCitation>{inner}</eCitation>")
    row = open_i.labels([tmp_path]).row(0, named=True)
    assert (row["image"], row["patient"], row["Granuloma"], row["Calcified Granuloma"]) == ("i.png", "CXR1", 1, 1)
    (tmp_path / "2.xml").write_text("<eCitation")
    with pytest.raises(DataError, match=r"2\.xml"):
        open_i.labels([tmp_path])
    shutil.copy(tmp_path / "1.xml", tmp_path / "2.xml")
    (tmp_path / "2.xml").write_text("<a/>")
    with pytest.raises(DataError, match="no uId"):
        open_i.labels([tmp_path])
