"""The plain pandas script a researcher would write for the same rows: three `read_csv`, three `merge`, a loop."""

import re
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd

KEYS = ["instance_id", "teacher", "subject_id", "study_id", "split"]
SECTION = re.compile(r"\n ([A-Z ()/,-]+):\s")


def join(release: Path, mimic: Path) -> Any:
    """Trajectories with metadata, split, labels and the path of their image."""
    rows = pd.read_parquet(release / "trajectories.parquet", columns=KEYS)
    metadata = pd.read_csv(mimic / "mimic-cxr-2.0.0-metadata.csv.gz")
    split = pd.read_csv(mimic / "mimic-cxr-2.0.0-split.csv.gz")
    labels = pd.read_csv(mimic / "mimic-cxr-2.0.0-chexpert.csv.gz")
    rows = rows.rename(columns={"instance_id": "dicom_id", "split": "release_split"})
    rows = rows.merge(metadata, on=["dicom_id", "subject_id", "study_id"], how="left")
    rows = rows.merge(split, on=["dicom_id", "subject_id", "study_id"], how="left")
    rows = rows.merge(labels, on=["subject_id", "study_id"], how="left")
    subject, study = rows["subject_id"].astype(str), rows["study_id"].astype(str)
    rows["path"] = (
        f"{mimic}/files/p" + subject.str[:2] + "/p" + subject + "/s" + study + "/" + rows["dicom_id"] + ".jpg"
    )
    return rows


def sections(text: str) -> tuple[str, str]:
    """Findings and impression of one report."""
    parts = SECTION.split(text)
    found = {name.strip().lower(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    return found.get("findings", ""), found.get("impression", "")


def join_text(release: Path, mimic: Path) -> Any:
    """The same with findings and impression, each report read once: from the tree, or from the zip."""
    rows = join(release, mimic)
    studies = rows[["subject_id", "study_id"]].drop_duplicates()
    archive = zipfile.ZipFile(mimic / "mimic-cxr-reports.zip") if (mimic / "mimic-cxr-reports.zip").exists() else None
    findings, impressions = [], []
    for subject, study in studies.itertuples(index=False):
        name = f"files/p{str(subject)[:2]}/p{subject}/s{study}.txt"
        text = archive.read(name).decode() if archive else (mimic / name).read_text()
        found, impression = sections(text)
        findings.append(found)
        impressions.append(impression)
    studies = studies.assign(findings=findings, impression=impressions)
    return rows.merge(studies, on=["subject_id", "study_id"], how="left")
