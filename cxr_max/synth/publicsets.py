"""Sets in the shape of Open-I, ChestX-ray14, CheXpert and ChestX-Det10: one study per patient, patients of their own.

Findings that the phantom does not draw (emphysema, fibrosis, hernia, calcification) have no positives, so their AUC is
undefined; that is left so on purpose.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image

from cxr_max.mimic.images import to_uint8
from cxr_max.synth import films, labels, tables
from cxr_max.synth.canvas import Array
from cxr_max.synth.chest import Film
from cxr_max.synth.concepts import concepts
from cxr_max.synth.config import WorldConfig
from cxr_max.synth.phantom import render
from cxr_max.synth.reports import Report, write_report
from cxr_max.synth.world import World, make_world

FRAME = 1024
"""Boxes of ChestX-ray14 and ChestX-Det10 are in pixels of a 1024 x 1024 frame."""

_NIH_NAME = {
    "atelectasis": "Atelectasis", "cardiomegaly": "Cardiomegaly", "consolidation": "Consolidation", "edema": "Edema",
    "pleural_effusion": "Effusion", "lung_opacity": "Infiltration", "lung_mass": "Mass", "lung_nodule": "Nodule",
    "pleural_thickening": "Pleural_Thickening", "pneumonia": "Pneumonia", "pneumothorax": "Pneumothorax",
}  # fmt: skip
_DET_NAME = {
    "atelectasis": "Atelectasis", "consolidation": "Consolidation", "pleural_effusion": "Effusion",
    "rib_fracture": "Fracture", "lung_mass": "Mass", "lung_nodule": "Nodule", "pneumothorax": "Pneumothorax",
}  # fmt: skip
_MESH = {
    "atelectasis": "Pulmonary Atelectases", "cardiomegaly": "Cardiomegaly", "consolidation": "Consolidation",
    "edema": "Pulmonary Edema", "pleural_effusion": "Pleural Effusion", "lung_opacity": "Opacity",
    "lung_mass": "Mass", "lung_nodule": "Nodule", "pleural_thickening": "Pleural Thickening",
    "pneumonia": "Pneumonia", "pneumothorax": "Pneumothorax", "rib_fracture": "Rib Fractures",
}  # fmt: skip
CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
"""CheXpert's own order of the labels, which is not the alphabetical one."""


class Case(NamedTuple):
    """One patient's study: its world, position, report, and the images' positions, frontal first."""

    world: World
    study: int
    report: Report
    images: tuple[int, ...]
    config: WorldConfig

    def film(self, k: int = 0) -> Film:
        """What image `k` shows."""
        return films.film_of(self.world, self.images[k], self.config)

    def present(self) -> list[str]:
        """Ids of the concepts that are there."""
        return [concepts()[i].id for i in self.world.present[self.study].nonzero()[0]]


def cases(config: WorldConfig, number: int, count: int, rng: Random) -> list[Case]:
    """`count` patients, each with the first study that has a frontal image."""
    world = make_world(WorldConfig(subjects=count, seed=(config.seed * 8 + number) % 2**62))
    out: list[Case] = []
    for s in range(len(world.study_id)):
        of_study = np.flatnonzero(world.image_study == s)
        order = sorted(of_study, key=lambda m: world.view[m] not in ("AP", "PA"))
        fresh = not out or world.study_subject[out[-1].study] != world.study_subject[s]
        if fresh and world.view[order[0]] in ("AP", "PA"):
            images = tuple(int(m) for m in order if world.copy_of[m] < 0)
            out.append(Case(world, s, write_report(world, s, rng), images, config))
    return out


def grey(case: Case, k: int, size: tuple[int, int] | None = None) -> Array:
    """8-bit picture of an image, equalised as these sets' pictures are."""
    view = str(case.world.view[case.images[k]])
    shape = size or tables.shape(view, case.config.size)
    return to_uint8(render(case.film(k), *shape), "MONOCHROME2")


def _save(case: Case, k: int, path: Path, size: tuple[int, int] | None = None) -> None:
    if case.config.images:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(grey(case, k, size))
        picture.save(path, quality=films.JPEG_QUALITY) if path.suffix == ".jpg" else picture.save(path)


def boxes(film: Film, concept: str) -> list[tuple[int, int, int, int]]:
    """Boxes (x1, y1, x2, y2) in the 1024 frame around what a finding changes, one per side."""
    out = []
    for finding in (f for f in film.findings if f.concept == concept):
        alone = Film(film.body, film.exposure, findings=(finding,), marker=False, noise=0.0)
        without = Film(film.body, film.exposure, marker=False, noise=0.0)
        change = np.abs(render(alone, 128, 128).astype(int) - render(without, 128, 128).astype(int))
        rows, columns = np.nonzero(change > max(60, 0.25 * change.max()))
        if len(rows):
            scale = FRAME // 128
            x, y = (int(columns.min()) * scale, int(rows.min()) * scale)
            out.append((x, y, (int(columns.max()) + 1) * scale, (int(rows.max()) + 1) * scale))
    return out


def open_i(folder: Path, found: list[Case], rng: Random) -> None:
    """Open-I: one XML file per report, PNG images named by their parentImage id."""
    (folder / "ecgen-radiology").mkdir(parents=True)
    for n, case in enumerate(found, 1):
        report, present = case.report, case.present()
        terms = [_MESH[c] for c in present if c in _MESH]
        shown = [f"CXR{n}_{k + 1}_IM-{n:04d}-{rng.randrange(1001, 4004)}" for k in range(len(case.images))]
        for k, name in enumerate(shown):
            _save(case, k, folder / "NLMCXR_png" / f"{name}.png")
        texts = {
            "COMPARISON": "XXXX", "INDICATION": "XXXX-year-old with XXXX",
            "FINDINGS": report.findings or report.last_paragraph or "", "IMPRESSION": report.impression or "",
        }  # fmt: skip
        abstract = "".join(
            f"<AbstractText Label={quoteattr(k)}>{escape(v.replace('___', 'XXXX'))}</AbstractText>"
            for k, v in texts.items()
        )
        mesh = "".join(f"<major>{escape(t)}</major>" for t in (terms or ["normal"]))
        mesh += "".join(f"<automatic>{escape(t.lower())}</automatic>" for t in terms)
        images = "".join(f'<parentImage id="{name}"><caption/></parentImage>' for name in shown)
        text = (
            f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><meta type="rr"/><uId id="CXR{n}"/>'
            f"<note>SYNTHETIC</note><MedlineCitation><Article><Abstract>{abstract}</Abstract></Article></MedlineCitation>"
            f"<MeSH>{mesh}</MeSH>{images}</eCitation>\n"
        )
        (folder / "ecgen-radiology" / f"{n}.xml").write_text(text, encoding="utf-8")


def chestxray14(folder: Path, found: list[Case], rng: Random) -> None:
    """NIH ChestX-ray14: the label file with its unquoted commas, both lists, boxes."""
    folder.mkdir(parents=True)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    lines, squares, names = [header], ["Image Index,Finding Label,Bbox [x,y,w,h],,,"], []
    for n, case in enumerate(found, 1):
        name = f"{n:08d}_000.png"
        _save(case, 0, folder / "images_001" / "images" / name, (case.config.size, case.config.size))
        present = sorted(_NIH_NAME[c] for c in case.present() if c in _NIH_NAME)
        sex = "F" if case.world.female[case.world.study_subject[case.study]] else "M"
        view = str(case.world.view[case.images[0]])
        label = "|".join(present) or "No Finding"
        lines.append(f"{name},{label},0,{n},{rng.randrange(18, 91)},{sex},{view},2544,3056,0.139,0.139")
        names.append(name)
        for concept in (c for c in case.present() if c in _NIH_NAME and rng.random() < 0.3):
            for x, y, x2, y2 in boxes(case.film(), concept)[:1]:
                kind = _NIH_NAME[concept].replace("Infiltration", "Infiltrate")
                squares.append(f"{name},{kind},{x}.0,{y}.0,{x2 - x}.0,{y2 - y}.0,,,")
    cut = len(names) * 7 // 10
    files = {
        "Data_Entry_2017_v2020.csv": lines, "BBox_List_2017.csv": squares,
        "train_val_list.txt": names[:cut], "test_list.txt": names[cut:],
    }  # fmt: skip
    for file, content in files.items():
        (folder / file).write_text("\n".join(content) + "\n", encoding="utf-8")


def chexpert(folder: Path, found: list[Case], rng: Random) -> None:
    """CheXpert: train.csv labelled from reports, valid.csv and the test set's groundtruth.csv from the truth."""
    top = "CheXpert-v1.0-small"
    (folder / top).mkdir(parents=True)
    columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
    rows: dict[str, list[tuple[Any, ...]]] = {"train": [], "valid": []}
    truth = []
    for n, case in enumerate(found):
        split = ("train", "valid", "test")[n % 3]
        patient = f"patient{n + 1 if split == 'train' else 64540 + n:05d}"
        sex = "Female" if case.world.female[case.world.study_subject[case.study]] else "Male"
        real = {label: float(any(concepts()[i].label == label for i in case.world.present[case.study].nonzero()[0]))
                for label in CHEXPERT}  # fmt: skip
        automatic = labels.chexpert(case.report, str(case.world.flag[case.study]))
        given = real if split != "train" else automatic or dict.fromkeys(CHEXPERT)
        for k, m in enumerate(case.images):
            frontal = str(case.world.view[m]) in ("AP", "PA")
            path = f"{top}/{split}/{patient}/study1/view{k + 1}_{'frontal' if frontal else 'lateral'}.jpg"
            _save(case, k, folder / path)
            what = ("Frontal", str(case.world.view[m])) if frontal else ("Lateral", None)
            if split != "test":
                rows[split].append((path, sex, rng.randrange(18, 91), *what, *(given[x] for x in CHEXPERT)))
        if split == "test":
            truth.append((f"CheXpert-v1.0/test/{patient}/study1", *(int(real[x]) for x in CHEXPERT)))
    for split, content in rows.items():
        tables.write_csv(folder / top / f"{split}.csv", columns, content)
    tables.write_csv(folder / "groundtruth.csv", ("Study", *CHEXPERT), truth)


def chestx_det10(folder: Path, found: list[Case], rng: Random) -> None:
    """ChestX-Det10: train.json and test.json with classes and boxes; empty lists mean no finding."""
    folder.mkdir(parents=True)
    records: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    numbers = rng.sample(range(30_000, 70_000), len(found))
    for n, case in enumerate(found):
        split = "train" if n % 3 else "test"
        row: dict[str, Any] = {"file_name": f"{numbers[n]}.png", "syms": [], "boxes": []}
        for concept in (c for c in case.present() if c in _DET_NAME):
            for box in boxes(case.film(), concept):
                row["syms"].append(_DET_NAME[concept])
                row["boxes"].append(list(box))
        _save(case, 0, folder / f"{split}_data" / row["file_name"], (case.config.size, case.config.size))
        records[split].append(row)
    for split, content in records.items():
        (folder / f"{split}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


SETS: dict[str, Callable[[Path, list[Case], Random], None]] = {
    "open-i": open_i,
    "chestxray14": chestxray14,
    "chexpert": chexpert,
    "chestx-det10": chestx_det10,
}


def write_set(task: tuple[str, Path, WorldConfig, int]) -> str:
    """Write one set by its root name into a folder; returns the name."""
    name, folder, config, count = task
    number = list(SETS).index(name) + 1
    rng = Random(f"{config.seed}/{name}")
    SETS[name](folder, cases(config, number, count, rng), rng)
    return name
