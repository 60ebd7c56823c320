"""The CSV files of MIMIC-CXR and MIMIC-CXR-JPG 2.1.0: exact names, columns, order and null semantics."""

import csv
import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from cxr_max.schema import FINDINGS
from cxr_max.synth.world import World

METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
    "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
PROVIDERS = ("subject_id", "study_id", "ordering_provider_id", "attending_provider_id", "resident_provider_id")
COLUMNS: dict[str, tuple[str, ...]] = {
    "cxr-record-list.csv.gz": ("subject_id", "study_id", "dicom_id", "path"),
    "cxr-study-list.csv.gz": ("subject_id", "study_id", "path"),
    "cxr-provider-list.csv.gz": PROVIDERS,
    "mimic-cxr-2.0.0-metadata.csv.gz": METADATA,
    "mimic-cxr-2.0.0-split.csv.gz": ("dicom_id", "study_id", "subject_id", "split"),
    "mimic-cxr-2.0.0-chexpert.csv.gz": ("subject_id", "study_id", *FINDINGS),
    "mimic-cxr-2.0.0-negbio.csv.gz": ("subject_id", "study_id", *FINDINGS),
    "mimic-cxr-2.1.0-test-set-labeled.csv": ("study_id", *FINDINGS),
    "IMAGE_FILENAMES": ("path",),
}
"""Every table of the tree with its columns in order; `IMAGE_FILENAMES` has no header."""

_VIEW_CODE = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral", "LL": "left lateral"}
ASPECT = 2544 / 3056


def study_folder(world: World, s: int) -> str:
    """`files/pXX/p<subject>/s<study>`."""
    subject = int(world.subject_id[world.study_subject[s]])
    return f"files/p{str(subject)[:2]}/p{subject}/s{int(world.study_id[s])}"


def image_path(world: World, m: int, suffix: str = "jpg") -> str:
    """Path of an image inside the tree."""
    return f"{study_folder(world, int(world.image_study[m]))}/{world.dicom_id[m]}.{suffix}"


def shape(view: str, size: int) -> tuple[int, int]:
    """Rows and columns of an image whose longer side has `size` pixels: portable films lie, the others stand."""
    short = round(size * ASPECT)
    return (short, size) if view == "AP" else (size, short)


def rows(world: World, size: int, rng: Random) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table that says nothing of findings."""
    out: dict[str, list[tuple[Any, ...]]] = {
        k: [] for k in COLUMNS if k not in ("mimic-cxr-2.1.0-test-set-labeled.csv",) and "chexpert" not in k
    }
    out.pop("mimic-cxr-2.0.0-negbio.csv.gz")
    for s in range(len(world.study_id)):
        ids = (int(world.subject_id[world.study_subject[s]]), int(world.study_id[s]))
        out["cxr-study-list.csv.gz"].append((*ids, f"{study_folder(world, s)}.txt"))
        ordering = None if rng.random() < 0.01 else _provider(rng, 2755)
        resident = None if rng.random() < 0.64 else _provider(rng, 115)
        out["cxr-provider-list.csv.gz"].append((*ids, ordering, _provider(rng, 55), resident))
    for m in range(len(world.dicom_id)):
        s = int(world.image_study[m])
        subject, study = int(world.subject_id[world.study_subject[s]]), int(world.study_id[s])
        dicom = str(world.dicom_id[m])
        split = str(world.split[world.study_subject[s]])
        out["cxr-record-list.csv.gz"].append((subject, study, dicom, image_path(world, m, "dcm")))
        out["mimic-cxr-2.0.0-split.csv.gz"].append((dicom, study, subject, split))
        out["IMAGE_FILENAMES"].append((image_path(world, m),))
        out["mimic-cxr-2.0.0-metadata.csv.gz"].append((dicom, subject, study, *_acquisition(world, m, size, rng)))
    return out


def _provider(rng: Random, n: int) -> str:
    return f"P{Random(int(rng.random() * n)).randrange(36**4):06d}"


def _acquisition(world: World, m: int, size: int, rng: Random) -> tuple[Any, ...]:
    s, view = int(world.image_study[m]), str(world.view[m])
    # Some portable films are filed under the two-view procedure, as in the real tables.
    portable = bool(world.portable[s]) and rng.random() < 0.9
    procedure = "CHEST (PORTABLE AP)" if portable else "CHEST (PA AND LAT)"
    missing = bool(world.view_missing[m])
    code = None if missing and rng.random() < 0.2 else _VIEW_CODE[view]
    height, width = shape(view, size)
    orientation = None if rng.random() < 0.05 else "Recumbent" if portable and rng.random() < 0.2 else "Erect"
    when = (int(world.date[s]), round(float(world.time[s]), 3))
    step = None if rng.random() < 0.08 else procedure
    return (step, None if missing else view, height, width, *when, procedure, code, orientation)


def write_csv(path: Path, columns: Sequence[str], records: Iterable[tuple[Any, ...]]) -> None:
    """Write a table, gzipped by its name, without a time stamp; None is empty. `IMAGE_FILENAMES` has no header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if path.name != "IMAGE_FILENAMES":
        writer.writerow(columns)
    writer.writerows(records)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)


def zip_reports(root: Path, names: Iterable[str]) -> None:
    """`mimic-cxr-reports.zip` with the report files under their paths, always the same bytes."""
    with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(names):
            entry = zipfile.ZipInfo(name, (2100, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (root / name).read_bytes())


def write_sums(root: Path) -> None:
    """`SHA256SUMS.txt`: hex, one space, relative path, sorted by path; the file itself is left out."""
    lines = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS.txt"):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append((path.relative_to(root).as_posix(), digest))
    (root / "SHA256SUMS.txt").write_text("".join(f"{d} {n}\n" for n, d in sorted(lines)), encoding="utf-8")
