"""How findings change between two visits, and the MS-CXR-T-shaped set made of it."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from cxr_max.schema import FINDINGS
from cxr_max.synth import tables
from cxr_max.synth.concepts import LEFT, RIGHT, ZONES, concepts, index, of_label
from cxr_max.synth.grammar import Claim, choose, fill
from cxr_max.synth.world import World

CLASSES = ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
PAIRS, SENTENCES = 1045, 361
"""Rows of the published files; a small world has fewer pairs."""
QUALITIES = ("one_expert", "multiple_experts", "disagreement")
_COURSE = {"new": "worsening", "resolved": "improving"}
_LABEL = {c: c.replace("_", " ").title() for c in CLASSES}


def progression(world: World) -> Iterator[tuple[int, int, int, str, str]]:
    """Subject, study, the study before it, label, and improving, stable or worsening.

    A finding that is new counts as worsening, one that has gone as improving; kinds of one label that change in
    different ways have no common course and are left out.
    """
    for s in np.flatnonzero(world.order > 0):
        ids = int(world.subject_id[world.study_subject[s]]), int(world.study_id[s]), int(world.study_id[s - 1])
        for label in FINDINGS:
            changes = (str(world.change[s, i]) for i in of_label(label))
            courses = {_COURSE.get(c, c) for c in changes if c}
            if len(courses) == 1 and label != "No Finding":
                yield (*ids, label, courses.pop())


def columns() -> tuple[str, ...]:
    """Columns of the image classification file, in order."""
    return (
        "dicom_id", "previous_dicom_id", "subject_id", "study_id", "previous_study_id",
        *(f"{c}_{what}" for c in CLASSES for what in ("progression", "label_quality")),
    )  # fmt: skip


def write(world: World, folder: Path, rng: Random) -> None:
    """Write both files of the set into a folder; image ids are path-like, as in the published file."""
    folder.mkdir(parents=True)
    rows = list(_pairs(world, rng))
    if len(rows) > PAIRS:
        rows = [rows[i] for i in sorted(rng.sample(range(len(rows)), PAIRS))]
    tables.write_csv(folder / "MS_CXR_T_temporal_image_classification_v1.0.0.csv", columns(), rows)
    header = ("sentence_1", "sentence_2", "category", "subset_name")
    sentences = [_sentences(rng) for _ in range(SENTENCES)]
    tables.write_csv(folder / "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv", header, sentences)


def _pairs(world: World, rng: Random) -> Iterator[tuple[Any, ...]]:
    frontal: dict[int, int] = {}
    for m in range(len(world.dicom_id)):
        if world.view[m] in ("AP", "PA"):
            frontal.setdefault(int(world.image_study[m]), m)
    courses: dict[int, dict[str, str]] = {}
    for _, study, _, label, course in progression(world):
        courses.setdefault(study, {})[label] = course
    for s in np.flatnonzero(world.order > 0):
        known = courses.get(int(world.study_id[s]), {})
        found = [known.get(_LABEL[c]) for c in CLASSES]
        if s not in frontal or s - 1 not in frontal or not any(found):
            continue
        places = (tables.image_path(world, frontal[int(k)]) for k in (s, s - 1))
        now, before = (p.removeprefix("files/").removesuffix(".jpg") for p in places)
        marks: list[str | None] = []
        for value in found:
            quality = rng.choices(QUALITIES, (0.7, 0.22, 0.08))[0]
            marks += [value, quality if value else None]
        subject = int(world.subject_id[world.study_subject[s]])
        yield (now, before, subject, int(world.study_id[s]), int(world.study_id[s - 1]), *marks)


def _sentences(rng: Random) -> tuple[str, str, str, str]:
    """Two report sentences that say the same, or that contradict each other by side or by status."""
    i = index()[rng.choice(CLASSES)]
    concept = concepts()[i]
    zone = ZONES.index(rng.choice(list(concept.zones))) if concept.zones else -1
    side = rng.choice((LEFT, RIGHT))
    claim = Claim(i, "present", side, zone, rng.randint(1, 3))
    first = choose(rng, claim, "report")
    text = fill(first, side) + "."
    if rng.random() < 141 / 361:
        same = fill(choose(rng, claim, "report"), side) + "."
        return text, same, "paraphrase", rng.choice(("RadGraph", "Swaps"))
    if rng.random() < 0.5:
        return text, fill(first, LEFT + RIGHT - side) + ".", "contradiction", "Swaps"
    return text, fill(choose(rng, Claim(i, "absent"), "report"), 0) + ".", "contradiction", "RadGraph"
