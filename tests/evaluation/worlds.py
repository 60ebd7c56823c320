"""Small evaluation sets written by hand in the published formats, and one tiny MIMIC-CXR-JPG tree."""

import csv
import json
from pathlib import Path

from cxr_max.evaluation.sets import chestx_det10, chexpert, open_i
from cxr_max.evaluation.sets import ms_cxr_t as reader
from cxr_max.roots import Root
from cxr_max.schema import FINDINGS

PATIENTS = 12
IMAGE = b"\xff\xd8\xff\xe0 not decoded by any baseline"


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(IMAGE)


def det10(folder: Path) -> Root:
    """24 images; class k is positive on every (k + 2)-th one."""
    records = []
    for i in range(24):
        syms = [c for k, c in enumerate(chestx_det10.CLASSES) if i % (k + 2) == 0]
        records.append({"file_name": f"{i}.png", "syms": syms, "boxes": [[0, 0, 9, 9]] * len(syms)})
        _touch(folder / "test_data" / f"{i}.png")
    (folder / "test.json").write_text(json.dumps(records))
    return Root("chestx-det10", folder, "option")


def chexpert_valid(folder: Path) -> Root:
    """12 studies of the validation file."""
    rows = ["Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(chexpert.CLASSES)]
    for i in range(PATIENTS):
        path = f"CheXpert-v1.0/valid/patient{i:05}/study1/view1_frontal.jpg"
        rows.append(f"{path},Male,60,Frontal,AP," + ",".join(str(float((i + k) % 2)) for k in range(5)))
        _touch(folder.joinpath(*path.split("/")[1:]))
    (folder / "valid.csv").write_text("\n".join(rows) + "\n")
    return Root("chexpert", folder, "option")


def chestxray14(folder: Path) -> Root:
    """Ten test images and one that is not."""
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,OriginalImage[Width,Height]"]
    for i in range(11):
        rows.append(f"{i}.png,{'Mass|Hernia' if i % 3 == 0 else 'No Finding'},0,{i // 2},50,9,9")
        _touch(folder / "images" / f"{i}.png")
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (folder / "test_list.txt").write_text("\n".join(f"{i}.png" for i in range(10)))
    return Root("chestxray14", folder, "option")


def openi(folder: Path) -> Root:
    """12 reports with two images each."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(PATIENTS):
        terms = "".join(f"<automatic>{c}</automatic>" for k, c in enumerate(open_i.CLASSES) if (i + k) % 4 == 0)
        images = "".join(f'<parentImage id="CXR{i}_IM-{v}"/>' for v in (1, 2))
        (folder / f"{i}.xml").write_text(f'<r><uId id="CXR{i}"/><MeSH>{terms}</MeSH>{images}</r>')
        for v in (1, 2):
            _touch(folder / "png" / f"CXR{i}_IM-{v}.png")
    return Root("open-i", folder, "option")


def ms_cxr_t(folder: Path, *, missing_images: int = 0) -> tuple[Root, Root]:
    """12 patients with a pair of studies in a plain MIMIC-CXR-JPG tree, and the MS-CXR-T table over them.

    CheXpert labels of the current study cycle through 1, 0, -1 and empty; every second finding has a progression.
    """
    jpg, table = folder / "mimic-cxr-jpg", folder / "ms-cxr-t"
    table.mkdir(parents=True)
    names = list(reader.FINDINGS)
    pairs, labels = [], []
    for i in range(PATIENTS):
        subject, studies = 10_000_001 + i, (50_000_001 + 2 * i, 50_000_002 + 2 * i)
        images = ["-".join([f"{study:08x}"] * 5) for study in studies]
        for study, image in zip(studies, images, strict=True):
            if i >= missing_images:
                _touch(jpg / "files" / "p10" / f"p{subject}" / f"s{study}" / f"{image}.jpg")
        values = {n: ("1.0", "0.0", "-1.0", "")[(i + k) % 4] for k, n in enumerate(names)}
        labels.append({"subject_id": subject, "study_id": studies[1], **values})
        progressions = {
            f"{c}_progression": (*reader.PROGRESSIONS, "")[(i + k) % 4] for k, c in enumerate(reader.FINDINGS.values())
        }
        path = f"p10/p{subject}/s{studies[1]}/{images[1]}"
        ids = {"dicom_id": path, "previous_dicom_id": f"p10/p{subject}/s{studies[0]}/{images[0]}"}
        pairs.append(
            {**ids, "subject_id": subject, "study_id": studies[1], "previous_study_id": studies[0], **progressions}
        )
    _csv(table / "MS_CXR_T_temporal_image_classification_v1.0.0.csv", pairs)

    full = [
        {"subject_id": r["subject_id"], "study_id": r["study_id"], **{f: r.get(f, "") for f in FINDINGS}}
        for r in labels
    ]
    jpg.mkdir(exist_ok=True)
    _csv(jpg / "mimic-cxr-2.0.0-chexpert.csv", full)
    return Root("mimic-cxr-jpg", jpg, "option"), Root("ms-cxr-t", table, "option")


def _csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
