"""The sample depends on ids and seed alone, keeps strata, and leaves evaluation patients out."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from cxr_max import data, mimic
from cxr_max.data.sample import SampleConfig, compose, draw, patients, rank
from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.synth import WorldConfig, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world of 60 patients without pixels."""
    out = tmp_path_factory.mktemp("world") / "w"
    write_world(WorldConfig(subjects=60, images=False, seed=3), out)
    return out


@pytest.fixture(scope="module")
def root(world: Path) -> mimic.MimicRoot:
    return mimic.open_root(world / "mimic")


def test_the_rank_is_pinned() -> None:
    expected = int(hashlib.sha256(b"0:50000001").hexdigest()[:16], 16) / 2**64
    assert rank(0, pl.Series([50_000_001])).to_list() == [expected]


@pytest.mark.parametrize(("unit", "key"), [("study", "study_id"), ("patient", "subject_id")])
def test_nested_whole_units_and_no_state(root: mimic.MimicRoot, unit: str, key: str) -> None:
    all_images = root.splits().filter(pl.col("split") == "train").collect()
    small, large = (draw(root, SampleConfig(f, unit)).images for f in (0.2, 0.5))
    assert set(small["dicom_id"]) < set(large["dicom_id"])
    assert draw(root, SampleConfig(0.2, unit)).images.equals(small)
    assert not draw(root, SampleConfig(0.2, unit, seed=1)).images.equals(small)
    chosen = all_images.filter(pl.col(key).is_in(small[key].implode()))
    assert set(chosen["dicom_id"]) == set(small["dicom_id"])
    expected = {i for i in all_images[key] if rank(0, pl.Series([i]))[0] < 0.2}
    assert set(small[key]) == expected
    assert draw(root, SampleConfig(1.0, unit)).images.height == all_images.height


def test_strata_keep_their_share(root: mimic.MimicRoot) -> None:
    config = SampleConfig(0.3, stratify=("Pleural Effusion", "Edema"))
    drawn = draw(root, config)
    labels = root.labels("chexpert").collect()
    studies = (
        root.splits()
        .filter(pl.col("split") == "train")
        .select("study_id")
        .unique()
        .collect()
        .join(labels, on="study_id")
    )
    for a in (True, False):
        for b in (True, False):
            here = studies.filter(
                ((pl.col("Pleural Effusion") == 1).fill_null(False) == a)
                & ((pl.col("Edema") == 1).fill_null(False) == b)
            )
            taken = here.filter(pl.col("study_id").is_in(drawn.images["study_id"].implode())).height
            assert abs(taken - 0.3 * here.height) <= 1
    assert draw(root, SampleConfig(0.3, stratify=("view",))).images.height > 0


def test_composition(root: mimic.MimicRoot) -> None:
    drawn = draw(root, SampleConfig(0.4))
    rows = {(r["kind"], r["value"]): r for r in drawn.composition.to_dicts()}
    assert rows["total", "images"]["sample"] == drawn.images.height
    assert rows["total", "patients"]["sample"] == drawn.images["subject_id"].n_unique()
    views = [r for (kind, _), r in rows.items() if kind.startswith("view")]
    assert sum(r["sample"] for r in views) == drawn.images.height
    assert sum(r["full_share"] for r in views) == pytest.approx(1)
    full = (
        root.splits()
        .filter(pl.col("split") == "train")
        .join(root.metadata().select("dicom_id", "view"), on="dicom_id")
        .collect()
    )
    hidden = compose(full, full.head(5), None, restricted=True)
    assert hidden["sample"].is_null().all()


def test_evaluation_patients_are_left_out(root: mimic.MimicRoot, tmp_path: Path) -> None:
    images = root.splits().filter(pl.col("split") == "train").collect()
    first, second = images["subject_id"].unique().sort()[:2]
    (tmp_path / "set").mkdir()
    pl.DataFrame({"subject_id": [first]}).write_csv(tmp_path / "set" / "a.csv")
    path = f"files/p{str(second)[:2]}/p{second}/s50000000/x.jpg"
    pl.DataFrame({"path": [path], "label": ["a/b"]}).write_csv(tmp_path / "set" / "b.csv")
    assert patients(tmp_path / "set") == {first, second}
    drawn = draw(root, SampleConfig(1.0, exclude=[tmp_path / "set"]))
    assert drawn.excluded == 2
    assert not {first, second} & set(drawn.images["subject_id"])
    (tmp_path / "none.csv").write_text("a\n1\n")
    with pytest.raises(DataError):
        draw(root, SampleConfig(1.0, exclude=[tmp_path / "none.csv"]))
    with pytest.raises(MissingFileError):
        draw(root, SampleConfig(1.0, exclude=[tmp_path / "gone"]))


def test_wrong_use(root: mimic.MimicRoot, tmp_path: Path) -> None:
    for fraction in (0, -1, 1.5):
        with pytest.raises(UsageError):
            SampleConfig(fraction)
    for setting in ({"unit": "image"}, {"split": "x"}, {"stratify": ("age",)}):
        with pytest.raises(UnknownNameError):
            SampleConfig(0.1, **setting)
    drawn = draw(root, SampleConfig(0.1))
    with pytest.raises(UsageError):
        data.sample.write(drawn, tmp_path / "x.csv")


def test_command(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances.parquet"
    args = [
        "sample",
        "--fraction",
        "0.3",
        "--seed",
        "5",
        "--out",
        str(out),
        "--mimic-root",
        str(world / "mimic"),
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "from cxr_max.cli import main; main()", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["excluded_patients"] == 0
    assert pl.read_parquet(out).columns == ["dicom_id", "subject_id", "study_id", "split", "view"]


def test_a_world_becomes_a_release_and_mimic_fills_it(world: Path, tmp_path: Path) -> None:
    done = data.build([world / "raw"], tmp_path / "r", findings=False)
    assert done.rejected == {}
    assert done.release.verify().ok
    rows = [json.loads(line) for p in sorted((world / "raw").iterdir()) for line in p.open()]
    for row in rows:
        # Only the image's name is left: everything else comes from the tables.
        row["image"] = row["image"].rsplit("/", 1)[1]
        del row["split"]
    rows[0]["image"] = "-".join(["0123abcd"] * 5) + ".jpg"
    rows[1]["split"] = "test" if rows[1].get("split") != "test" else "train"
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps(r) + "\n" for r in rows))
    again = data.build([bare], tmp_path / "s", findings=False, mimic_roots=[world / "mimic"], max_rejected=0.5)
    assert again.rejected["not_in_mimic"] == 1
    instances = again.release.scan("instances").collect()
    known = mimic.open_root(world / "mimic").splits().collect()
    joined = instances.join(known, left_on="instance_id", right_on="dicom_id")
    assert joined.height == instances.height
    assert (joined["split"] == joined["split_right"]).all()
    assert (joined["subject_id"] == joined["subject_id_right"]).all()
    assert instances["view"].null_count() < instances.height


def test_a_damaged_table_is_named_and_its_cells_are_not(world: Path, tmp_path: Path) -> None:
    for file in (world / "mimic").glob("*.csv.gz"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = next(tmp_path.glob("*-split.csv.gz"))
    lines = gzip.decompress(table.read_bytes()).decode().splitlines()
    lines[3] = ",".join("SECRET" for _ in lines[3].split(","))
    table.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(DataError) as caught:
        draw(mimic.open_root(tmp_path), SampleConfig(0.5))
    assert "SECRET" not in str(caught.value)
