"""Findings lie where they should on the film, the knobs act, and the files hold what was drawn."""

from pathlib import Path

import numpy as np
import pytest

from cxr_max import synth
from cxr_max.synth import devices, lesions, publicsets
from cxr_max.synth.chest import Film, Finding
from cxr_max.synth.concepts import concepts
from cxr_max.synth.phantom import render

SIDED = [c.id for c in concepts() if c.sides[0] and (c.id in lesions.DRAW or c.id in devices.DRAW) and c.id != "edema"]


def _change(finding: Finding, **values: object) -> np.ndarray:
    with_it = render(Film(5, 5, findings=(finding,), noise=0.0, **values), 128, 106).astype(float)
    without = render(Film(5, 5, noise=0.0, **values), 128, 106).astype(float)
    return np.abs(with_it - without)


@pytest.mark.parametrize("concept", SIDED)
@pytest.mark.parametrize("side", [-1, 1])
def test_a_finding_is_on_its_side(concept: str, side: int) -> None:
    zones = next(c.zones for c in concepts() if c.id == concept)
    for zone in zones or ("",):
        change = _change(Finding(concept, side, zone, 2, 0.8))
        left_of_patient, right_of_patient = change[:, 53:].sum(), change[:, :53].sum()
        mine, other = (left_of_patient, right_of_patient) if side == 1 else (right_of_patient, left_of_patient)
        # Lines and leads end in the heart and the great veins, wherever they come from.
        assert mine > (1.05 if concept in ("central_line", "pacemaker") else 2.5) * other, (zone, mine, other)


@pytest.mark.parametrize("zone", ["upper", "mid", "lower"])
def test_a_nodule_is_in_its_zone(zone: str) -> None:
    change = _change(Finding("lung_nodule", 1, zone, 2, 0.9))
    height = (change.sum(1) * np.arange(128)).sum() / change.sum() / 128
    assert {"upper": 0.2, "mid": 0.38, "lower": 0.56}[zone] < height < {"upper": 0.38, "mid": 0.56, "lower": 0.8}[zone]


def test_every_finding_changes_the_film_and_more_so_when_it_is_stronger() -> None:
    for concept in (c.id for c in concepts() if c.label not in (None, "No Finding")):
        weak, strong = (_change(Finding(concept, 1, "", 2, s)).sum() for s in (0.3, 1.0))
        assert weak > 0
        assert strong >= weak * 0.99, concept


def test_a_larger_heart_is_wider() -> None:
    def width(level: int) -> float:
        change = _change(Finding("cardiomegaly", 0, "", level, 0.8))
        return float((change[70:100].max(0) > 100).sum())

    assert 0 < width(1) < width(3)


def test_lateral_films_show_findings_too() -> None:
    for concept in ("pleural_effusion", "consolidation", "cardiomegaly", "pacemaker", "atelectasis"):
        assert _change(Finding(concept, 1, "lower", 2, 0.8), lateral=True).max() > 100


def test_the_same_film_twice_and_another_exposure() -> None:
    film = Film(1, 2)
    assert np.array_equal(render(film, 64, 54), render(film, 64, 54))
    assert not np.array_equal(render(film, 64, 54), render(Film(1, 3), 64, 54))
    assert render(film, 64, 54).max() <= 4095


def test_boxes_hold_the_finding() -> None:
    (x, y, x2, y2) = publicsets.boxes(Film(5, 5, findings=(Finding("lung_mass", 1, "upper", 2, 0.9),)), "lung_mass")[0]
    assert 512 < x < x2 < 1024
    assert 100 < y < y2 < 600
    two = (Finding("pleural_effusion", -1, "", 2, 0.9), Finding("pleural_effusion", 1, "", 2, 0.9))
    assert len(publicsets.boxes(Film(5, 5, findings=two), "pleural_effusion")) == 2
    assert publicsets.boxes(Film(5, 5), "lung_mass") == []


@pytest.mark.parametrize(("kind", "there"), [("jpg", {".jpg"}), ("dicom", {".dcm"}), ("both", {".jpg", ".dcm"})])
def test_formats(kind: str, there: set, tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(subjects=2, size=64, format=kind, seed=1), tmp_path / "out")
    found = {p.suffix for p in (tmp_path / "out/mimic/files").rglob("*") if p.is_file()}
    assert found == {".txt", *there}


def test_the_knobs_of_the_pixels_change_the_pixels_and_nothing_else(tmp_path: Path) -> None:
    from tests.synth.test_write import tree

    plain = synth.WorldConfig(subjects=3, size=64, seed=8)
    synth.write_world(plain, tmp_path / "a")
    for k, change in enumerate(({"subtlety": 1.0}, {"noise": 200.0}, {"contrast": 0.3})):
        synth.write_world(synth.WorldConfig(**{**plain.__dict__, **change}), tmp_path / f"b{k}")
        a, b = tree(tmp_path / "a"), tree(tmp_path / f"b{k}")
        assert a.keys() == b.keys()
        differ = {n for n in a if a[n] != b[n]}
        assert any(n.endswith(".jpg") for n in differ)
        rest = {n for n in differ if not n.endswith((".jpg", ".png"))}
        assert rest <= {"mimic/SHA256SUMS.txt", "truth/profiles.json", "eval/chestx-det10/train.json",
                        "eval/chestx-det10/test.json", "eval/chestxray14/BBox_List_2017.csv"}  # fmt: skip


def test_re_exposures_are_near_duplicates(pictures: Path) -> None:
    from PIL import Image

    from cxr_max.synth import films, tables

    config = synth.validate(synth.WorldConfig(subjects=20, format="both", size=96, seed=6))
    world = synth.make_world(config)
    copies = np.flatnonzero(world.copy_of >= 0)
    assert len(copies)
    for m in copies:
        ours, source = (
            np.asarray(Image.open(pictures / "mimic" / tables.image_path(world, int(k))), dtype=float)
            for k in (m, world.copy_of[m])
        )
        assert not np.array_equal(ours, source)
        assert np.corrcoef(ours.ravel(), source.ravel())[0, 1] > 0.97
    assert films.film_of(world, int(copies[0]), config) == films.film_of(world, int(world.copy_of[copies[0]]), config)
