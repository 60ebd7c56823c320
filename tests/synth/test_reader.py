"""A reader written from the description of the real data sets alone; it accepts the tree and finds its pitfalls."""

import csv
import gzip
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

LABELS = [
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
]  # fmt: skip
COLUMNS = {
    "cxr-record-list.csv.gz": ["subject_id", "study_id", "dicom_id", "path"],
    "cxr-study-list.csv.gz": ["subject_id", "study_id", "path"],
    "cxr-provider-list.csv.gz": [
        "subject_id", "study_id", "ordering_provider_id", "attending_provider_id", "resident_provider_id",
    ],
    "mimic-cxr-2.0.0-metadata.csv.gz": [
        "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
        "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
        "PatientOrientationCodeSequence_CodeMeaning",
    ],
    "mimic-cxr-2.0.0-split.csv.gz": ["dicom_id", "study_id", "subject_id", "split"],
    "mimic-cxr-2.0.0-chexpert.csv.gz": ["subject_id", "study_id", *LABELS],
    "mimic-cxr-2.0.0-negbio.csv.gz": ["subject_id", "study_id", *LABELS],
    "mimic-cxr-2.1.0-test-set-labeled.csv": ["study_id", *LABELS],
}  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    reader = csv.DictReader(io.StringIO(text))
    rows = list(reader)
    assert reader.fieldnames == COLUMNS.get(path.name, reader.fieldnames)
    return rows


@pytest.fixture(scope="module")
def mimic(large: Path) -> Path:
    return large / "mimic"


def test_identifiers_and_paths(mimic: Path) -> None:
    records = table(mimic / "cxr-record-list.csv.gz")
    studies = {}
    for row in records:
        assert re.fullmatch(r"1\d{7}", row["subject_id"])
        assert re.fullmatch(r"5\d{7}", row["study_id"])
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}", row["dicom_id"])
        folder = f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}"
        assert row["path"] == f"{folder}/{row['dicom_id']}.dcm"
        assert studies.setdefault(row["study_id"], row["subject_id"]) == row["subject_id"]
    assert len({r["dicom_id"] for r in records}) == len(records)
    listed = table(mimic / "cxr-study-list.csv.gz")
    assert {r["study_id"] for r in listed} == set(studies)
    assert all((mimic / r["path"]).is_file() for r in listed)
    names = (mimic / "IMAGE_FILENAMES").read_text().splitlines()
    assert names == [r["path"].removesuffix("dcm") + "jpg" for r in records]
    assert 1.2 < len(records) / len(studies) < 2.0


def test_splits_are_disjoint_by_patient(mimic: Path) -> None:
    split = defaultdict(set)
    rows = table(mimic / "mimic-cxr-2.0.0-split.csv.gz")
    for row in rows:
        split[row["subject_id"]].add(row["split"])
    assert all(len(v) == 1 for v in split.values())
    assert {next(iter(v)) for v in split.values()} == {"train", "validate", "test"}


def test_metadata_and_its_pitfalls(mimic: Path) -> None:
    rows = table(mimic / "mimic-cxr-2.0.0-metadata.csv.gz")
    views = Counter(r["ViewPosition"] for r in rows)
    assert set(views) == {"AP", "PA", "LATERAL", "LL", ""}
    filled = {"antero-posterior", "postero-anterior", "lateral", "left lateral", ""}
    assert {r["ViewCodeSequence_CodeMeaning"] for r in rows} == filled
    dates, visits = defaultdict(list), defaultdict(dict)
    for row in rows:
        assert re.fullmatch(r"2[12]\d{6}", row["StudyDate"])
        hours = float(row["StudyTime"])
        assert 0 <= hours < 240_000
        assert hours // 100 % 100 < 60
        assert hours % 100 < 60
        assert row["PatientOrientationCodeSequence_CodeMeaning"] in ("Erect", "Recumbent", "")
        visits[row["subject_id"]][row["study_id"]] = (row["StudyDate"], hours)
        dates[row["study_id"]].append(row["ViewPosition"])
    assert any(float(r["StudyTime"]) < 100_000 for r in rows), "leading zeros are lost"
    numeric = [sorted(v) == sorted(v, key=v.get) for v in visits.values() if len(v) > 3]
    assert not all(numeric), "study ids are not in time order"
    lateral_only = [v for v in dates.values() if set(v) <= {"LATERAL", "LL"}]
    several = [v for v in dates.values() if len(v) > 1]
    assert lateral_only
    assert several
    odd = [
        r for r in rows if r["ViewPosition"] == "AP" and r["ProcedureCodeSequence_CodeMeaning"] == "CHEST (PA AND LAT)"
    ]
    assert odd
    assert any(r["PerformedProcedureStepDescription"] == "" for r in rows)


def test_labels_and_their_null_semantics(mimic: Path) -> None:
    studies = {r["study_id"] for r in table(mimic / "cxr-study-list.csv.gz")}
    chexpert = table(mimic / "mimic-cxr-2.0.0-chexpert.csv.gz")
    negbio = table(mimic / "mimic-cxr-2.0.0-negbio.csv.gz")
    for rows in (chexpert, negbio):
        assert len({r["study_id"] for r in rows}) == len(rows)
        assert {r[x] for r in rows for x in LABELS} == {"1.0", "0.0", "-1.0", ""}
        assert {r["No Finding"] for r in rows} == {"1.0", ""}
    assert 0 < len(studies) - len(chexpert) <= 0.01 * len(studies), "some reports have no usable text"
    assert any(not any(r[x] for x in LABELS) for r in chexpert), "all-empty rows"
    assert all(any(r[x] for x in LABELS) for r in negbio)
    assert any(a != b for a, b in zip(chexpert, negbio, strict=True))
    human = table(mimic / "mimic-cxr-2.1.0-test-set-labeled.csv")
    split = {r["study_id"]: r["split"] for r in table(mimic / "mimic-cxr-2.0.0-split.csv.gz")}
    assert human
    assert all(split[r["study_id"]] == "test" for r in human)


PUBLISHED = {
    "Atelectasis": 44012, "Cardiomegaly": 38002, "Consolidation": 10199, "Edema": 25549,
    "Enlarged Cardiomediastinum": 6798, "Fracture": 3675, "Lung Lesion": 5939, "Lung Opacity": 49512,
    "No Finding": 74019, "Pleural Effusion": 51680, "Pleural Other": 1884, "Pneumonia": 15333, "Pneumothorax": 9159,
    "Support Devices": 63971,
}  # fmt: skip
"""Positive studies of 222,750 in the training split."""


def test_positive_labels_are_about_as_frequent_as_the_published_ones(mimic: Path) -> None:
    rows = table(mimic / "mimic-cxr-2.0.0-chexpert.csv.gz")
    for label, count in PUBLISHED.items():
        share, published = sum(r[label] == "1.0" for r in rows) / len(rows), count / 222_750
        # Some 1,000 studies of 400 patients: three standard errors are about 4 points for the frequent labels.
        assert abs(share - published) < max(0.02, 0.3 * published), (label, share, published)


SECTION = re.compile(r"\n ([A-Z ()/,-]+):\s")


def sections(text: str) -> dict[str, str]:
    """The official parser's rules, as described: headers, last occurrence wins, last paragraph as a last resort."""
    names = {"findings and impression": "impression"}
    found, start, at, name = [], 0, 0, "preamble"
    while match := SECTION.search(text, at):
        found.append((name, text[start : match.start()]))
        name = names.get(match[1].lower(), match[1].lower())
        start, at = match.end(), max(match.end(), text.find("\n", match.end()))
    found.append((name if found else "full report", text[start:]))
    out = {k: v.strip() for k, v in found}
    out = {k: v for k, v in out.items() if v or k not in ("findings", "impression")}
    if "findings" not in out and "impression" not in out:
        parts = found[-1][1].split("\n \n", 1)
        out["last_paragraph"] = parts[1].strip() if len(parts) > 1 else ""
    return out


def test_reports_are_in_the_real_style_and_their_statements_in_their_sections(large: Path, mimic: Path) -> None:
    import polars as pl

    stated = defaultdict(list)
    for row in pl.read_parquet(large / "truth/reports.parquet").iter_rows(named=True):
        stated[row["study_id"]].append(row)
    kinds, texts = Counter(), []
    for row in table(mimic / "cxr-study-list.csv.gz"):
        text = (mimic / row["path"]).read_text(encoding="utf-8")
        texts.append(text)
        assert max(map(len, text.split("\n"))) <= 79
        assert text.isascii()
        found = sections(text)
        has = [k for k in ("findings", "impression", "last_paragraph") if found.get(k)]
        kinds[" ".join(has)] += 1
        for said in stated[int(row["study_id"])]:
            inside = " ".join(found[said["section"]].split())
            assert " ".join(said["clause"].split()) in inside
    total = sum(kinds.values())
    assert kinds["findings impression"] > 0.5 * total
    assert 0.07 < kinds["findings"] / total < 0.17
    assert 0.02 < kinds["last_paragraph"] / total < 0.08
    assert any("ADDENDUM" in t for t in texts)
    assert any("WET READ" in t for t in texts)
    assert any("FINDINGS AND IMPRESSION" in t for t in texts)
    assert all("FINAL REPORT" in t for t in texts)
    assert sum("___" in t for t in texts) > 0.7 * total


def test_sums_and_the_zip_hold_every_file(mimic: Path) -> None:
    lines = (mimic / "SHA256SUMS.txt").read_text().splitlines()
    names = []
    for line in lines:
        digest, name = re.fullmatch(r"([0-9a-f]{64}) (\S.*)", line).groups()
        assert hashlib.sha256((mimic / name).read_bytes()).hexdigest() == digest
        names.append(name)
    assert names == sorted(names)
    there = {p.relative_to(mimic).as_posix() for p in mimic.rglob("*") if p.is_file()}
    assert set(names) == there - {"SHA256SUMS.txt"}
    with zipfile.ZipFile(mimic / "mimic-cxr-reports.zip") as archive:
        packed = {n: archive.read(n) for n in archive.namelist()}
    assert packed == {n: (mimic / n).read_bytes() for n in names if n.startswith("files/")}


def test_dicom_and_jpg_by_the_official_recipe(pictures: Path) -> None:
    mimic = pictures / "mimic"
    syntaxes, photometric, missing = set(), set(), 0
    rows = {r["dicom_id"]: r for r in table(mimic / "mimic-cxr-2.0.0-metadata.csv.gz")}
    for path in sorted(mimic.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        row = rows[path.stem]
        syntaxes.add(dataset.file_meta.TransferSyntaxUID)
        photometric.add(dataset.PhotometricInterpretation)
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1"
        assert list(dataset.ImageType) == ["DERIVED", "PRIMARY"]
        assert dataset.SOPInstanceUID.startswith("2.25.")
        assert (dataset.AccessionNumber, dataset.StudyDescription) == (row["study_id"], "")
        assert (str(dataset.Rows), str(dataset.Columns)) == (row["Rows"], row["Columns"])
        assert dataset.ViewPosition == row["ViewPosition"]
        assert dataset.BitsStored == 12
        pixels = dataset.pixel_array
        assert pixels.max() < 4096
        # The maintainer's function, written with OpenCV.
        image = pixels - pixels.min()
        image = (image / image.max() * 255).astype(np.uint8)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            image = cv2.bitwise_not(image)
        expected = cv2.imdecode(cv2.imencode(".jpg", cv2.equalizeHist(image), [cv2.IMWRITE_JPEG_QUALITY, 95])[1], 0)
        given = np.asarray(Image.open(path.with_suffix(".jpg")))
        assert given.dtype == np.uint8
        # Two JPEG encoders differ by little; another equalisation by up to 8.
        assert np.abs(given.astype(int) - expected).mean() < 0.6
        missing += not dataset.ViewPosition
    assert syntaxes == {ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless}
    assert photometric == {"MONOCHROME1", "MONOCHROME2"}
    assert missing > 0


def test_ms_cxr_t(large: Path) -> None:
    folder = large / "eval/ms-cxr-t"
    rows = table(folder / "MS_CXR_T_temporal_image_classification_v1.0.0.csv")
    split = {r["subject_id"]: r["split"] for r in table(large / "mimic/mimic-cxr-2.0.0-split.csv.gz")}
    known = {
        r["path"].removeprefix("files/").removesuffix(".dcm") for r in table(large / "mimic/cxr-record-list.csv.gz")
    }
    courses = Counter()
    for row in rows:
        assert {row["dicom_id"], row["previous_dicom_id"]} <= known
        for finding in ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax"):
            course, quality = row[f"{finding}_progression"], row[f"{finding}_label_quality"]
            assert course in ("improving", "stable", "worsening", "")
            assert bool(course) == bool(quality)
            courses[course] += 1
    assert min(courses[c] for c in ("improving", "stable", "worsening")) > 20
    assert sum(split[r["subject_id"]] == "train" for r in rows) > 0.5 * len(rows)
    pairs = table(folder / "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv")
    assert {r["category"] for r in pairs} == {"paraphrase", "contradiction"}
    assert all(r["sentence_1"] != "" != r["sentence_2"] for r in pairs)


def test_open_i(pictures: Path) -> None:
    folder = pictures / "eval/open-i"
    files = sorted((folder / "ecgen-radiology").glob("*.xml"))
    assert len(files) >= 10
    for path in files:
        root = ET.parse(path).getroot()
        assert root.tag == "eCitation"
        assert root.find("uId").get("id") == f"CXR{path.stem}"
        texts = {e.get("Label") for e in root.iter("AbstractText")}
        assert texts == {"COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION"}
        assert root.findall(".//MeSH/major")
        for image in root.findall("parentImage"):
            assert (folder / "NLMCXR_png" / f"{image.get('id')}.png").is_file()


def test_chestxray14(pictures: Path) -> None:
    folder = pictures / "eval/chestxray14"
    with (folder / "Data_Entry_2017_v2020.csv").open() as file:
        rows = list(csv.reader(file))
    assert all(len(r) == 11 for r in rows), "the commas in brackets are unquoted"
    names = {r[0] for r in rows[1:]}
    lists = [(folder / f"{n}.txt").read_text().split() for n in ("train_val_list", "test_list")]
    assert set(lists[0]) | set(lists[1]) == names
    assert not set(lists[0]) & set(lists[1])
    assert all((folder / "images_001/images" / n).is_file() for n in names)
    with (folder / "BBox_List_2017.csv").open() as file:
        boxes = list(csv.reader(file))[1:]
    for name, kind, x, y, w, h, *_ in boxes:
        assert name in names
        assert kind != "Infiltration"
        assert 0 <= float(x) <= float(x) + float(w) <= 1024
        assert 0 <= float(y) <= float(y) + float(h) <= 1024


def test_chexpert(pictures: Path) -> None:
    folder = pictures / "eval/chexpert"
    for split in ("train", "valid"):
        rows = table(folder / f"CheXpert-v1.0-small/{split}.csv")
        assert rows
        assert list(rows[0])[:6] == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding"]
        for row in rows:
            assert (folder / row["Path"]).is_file()
            assert (row["AP/PA"] == "") == (row["Frontal/Lateral"] == "Lateral")
    with (folder / "groundtruth.csv").open() as file:
        truth = list(csv.DictReader(file))
    assert {v for r in truth for k, v in r.items() if k != "Study"} == {"0", "1"}


def test_chestx_det10(pictures: Path) -> None:
    folder = pictures / "eval/chestx-det10"
    for split in ("train", "test"):
        for row in json.loads((folder / f"{split}.json").read_text()):
            assert set(row) == {"file_name", "syms", "boxes"}
            assert len(row["syms"]) == len(row["boxes"])
            assert all(0 <= a < c <= 1024 and 0 <= b < d <= 1024 for a, b, c, d in row["boxes"])
            assert (folder / f"{split}_data" / row["file_name"]).is_file()


def test_everything_is_marked_synthetic(pictures: Path) -> None:
    import pyarrow.parquet as pq

    for folder in (
        "",
        "mimic",
        *(f"eval/{n}" for n in ("ms-cxr-t", "open-i", "chestxray14", "chexpert", "chestx-det10")),
    ):
        assert "synthetic" in (pictures / folder / "SYNTHETIC").read_text()
    for path in (pictures / "truth").glob("*.parquet"):
        assert pq.read_schema(path).metadata == {b"synthetic": b"true"}
    assert pydicom.dcmread(next(pictures.rglob("*.dcm"))).ImageComments == "SYNTHETIC"
    assert Image.open(next((pictures / "mimic").rglob("*.jpg"))).info["comment"] == b"SYNTHETIC"
