"""A small MIMIC-shaped tree written by hand: every odd case once, made-up ids and text."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from cxr_max.schema import FINDINGS

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PORTABLE AP)

 INDICATION:  ___ year old with a cough.

 COMPARISON:  None.

 FINDINGS:

 The heart is large.  There is a small left effusion.

 IMPRESSION:

 Cardiomegaly and a small left pleural effusion.
"""


def dicom_id(n: int) -> str:
    return "-".join(f"{n * 7 + i:08x}" for i in range(5))


# subject, study, number of images, split
STUDIES = [
    (10000101, 50000201, 2, "train"),
    (10000101, 50000202, 1, "train"),
    (10000102, 50000203, 1, "train"),
    (11000103, 50000204, 1, "validate"),
    (12000104, 50000205, 1, "test"),
    (13000105, 50000206, 1, "train"),
]
IMAGES = [
    (subject, study, dicom_id(study % 1000 * 10 + i), split) for subject, study, n, split in STUDIES for i in range(n)
]
LABELS: dict[int, dict[str, float]] = {
    50000201: {"Cardiomegaly": 1, "Pleural Effusion": 1, "Pneumothorax": 0},
    50000202: {"Edema": -1, "Lung Opacity": 1},
    50000203: {"No Finding": 1},
    50000204: {"Atelectasis": 0, "Pneumonia": 1},
    50000205: {},
}
"""50000206 has no row, 50000205 an empty one."""

VIEWS = ["AP", "LL", "", "PA", "", "LATERAL", "XTABLE LATERAL"]
CODES = ["antero-posterior", "left lateral", "Postero-anterior", "", "", "lateral", ""]
TIMES = ["80556.875", "133000.0", "", "235959.999", "0.5", "250000.0", "61.0"]


def label_csv(header: str = "subject_id,study_id") -> str:
    rows = [f"{header},{','.join(FINDINGS)}"]
    for subject, study, _, _ in STUDIES:
        if study in LABELS:
            ids = f"{subject},{study}" if header.startswith("subject") else str(study)
            cells = (LABELS[study].get(f) for f in FINDINGS)
            rows.append(f"{ids},{','.join('' if c is None else f'{c:.1f}' for c in cells)}")
    return "\n".join(rows) + "\n"


def metadata_csv() -> str:
    columns = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
    )
    rows = [columns]
    for i, (subject, study, image, _) in enumerate(IMAGES):
        rows.append(
            f'{image},{subject},{study},"CHEST (PA, LAT)",{VIEWS[i]},3056,2544,2180050{i + 1},{TIMES[i]},'
            f'"CHEST (PA, LAT)",{CODES[i]},Erect'
        )
    return "\n".join(rows) + "\n"


def write_tables(folder: Path, *, zipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    split = "\n".join(["dicom_id,study_id,subject_id,split", *(f"{d},{t},{s},{x}" for s, t, d, x in IMAGES), ""])
    for name, text in {
        "mimic-cxr-2.0.0-metadata.csv": metadata_csv(),
        "mimic-cxr-2.0.0-split.csv": split,
        "mimic-cxr-2.0.0-chexpert.csv": label_csv(),
        "mimic-cxr-2.0.0-negbio.csv": label_csv(),
    }.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    (folder / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(label_csv("study_id"))


def tree_path(subject: int, study: int, name: str = "") -> str:
    return f"p{str(subject)[:2]}/p{subject}/s{study}{'/' + name if name else ''}"


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 20), np.uint8))


def write_images(files: Path, *, flat: bool = False) -> None:
    for i, (subject, study, image, _) in enumerate(IMAGES):
        path = files / (f"{image}.jpg" if flat else tree_path(subject, study, f"{image}.jpg"))
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, quality=95)


def write_reports(files: Path) -> None:
    for subject, study, _, _ in STUDIES:
        path = files / f"{tree_path(subject, study)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(REPORT.replace("small", f"small ({study})"))


def zip_reports(path: Path, prefix: str = "files/") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for subject, study, _, _ in STUDIES:
            archive.writestr(f"{prefix}{tree_path(subject, study)}.txt", REPORT.replace("small", f"small ({study})"))


def write_world(top: Path) -> Path:
    """The plain shape: tables, JPG tree and reports under one folder."""
    write_tables(top)
    write_images(top / "files")
    write_reports(top / "files")
    return top


class Release:
    """A release in memory: what `mimic.join` needs of one."""

    def __init__(self, tables: dict[str, pl.DataFrame], version: str = "1.0.0") -> None:
        self.tables = tables
        hashes = {n: {"content_hash": str(t.hash_rows().sum()), "rows": t.height} for n, t in tables.items()}
        self.manifest = {"version": version, "synthetic": True, "tables": hashes}

    def scan(self, table: str) -> pl.LazyFrame:
        return self.tables[table].lazy()
