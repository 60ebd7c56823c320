"""Joining 24,426 instances x 7 teachers to tables of MIMIC-CXR's size, against a plain pandas script.

python -m benchmarks.mimic_join [--tiny]

Tables of 377,110 images and 227,835 studies, one (tiny) JPG per instance, the reports of the release's studies as
files, and all 227,835 in a zip; ids, text and labels are random. Each measurement is a process of its own, imports not
counted; first runs start from an empty cache of ours (the files themselves are in the system's cache for both sides).
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from benchmarks import common
from cxr_max.schema import FINDINGS
from cxr_max.teachers import TEACHER_IDS

FULL = (227_835, 377_110, 24_426)
TINY = (300, 500, 60)
REPEATS = 3
SENTENCES = (
    "The heart is normal in size.", "There is no focal consolidation.", "A small left pleural effusion is seen.",
    "The lungs are hyperinflated.", "No pneumothorax.", "Mediastinal contours are unremarkable.",
    "Median sternotomy wires are intact.", "There is mild pulmonary vascular congestion.", "Low lung volumes.",
)  # fmt: skip


def make_tables(top: Path, size: tuple[int, int, int], rng: np.random.Generator) -> pl.DataFrame:
    """Write metadata, split and CheXpert tables; returns the images of the release (one per study)."""
    n_studies, n_images, n_instances = size
    study = np.sort(rng.choice(9_999_999, n_studies, replace=False)) + 50_000_000
    subject = np.sort(rng.integers(10_000_000, 19_999_999, max(n_studies * 2 // 7, 10)))[
        np.sort(rng.integers(0, max(n_studies * 2 // 7, 10), n_studies))
    ]
    of_image = np.sort(np.concatenate([np.arange(n_studies), rng.integers(0, n_studies, n_images - n_studies)]))
    raw = rng.integers(0, 1 << 32, (n_images, 5), dtype=np.uint64)
    dicom = ["-".join(f"{part:08x}" for part in row) for row in raw.tolist()]
    views = rng.choice(np.array(["AP", "PA", "LATERAL", "LL", ""]), n_images, p=[0.39, 0.26, 0.22, 0.09, 0.04])
    ids = {"dicom_id": dicom, "subject_id": subject[of_image], "study_id": study[of_image]}
    metadata = pl.DataFrame(ids).with_columns(
        pl.lit("CHEST (PA AND LAT)").alias("PerformedProcedureStepDescription"),
        pl.Series("ViewPosition", views),
        pl.lit(3056).alias("Rows"),
        pl.lit(2544).alias("Columns"),
        pl.Series("StudyDate", rng.integers(2100, 2200, n_images) * 10_000 + 1231),
        pl.Series("StudyTime", rng.integers(0, 23, n_images) * 10_000 + 5_956.875),
        pl.lit("CHEST (PA AND LAT)").alias("ProcedureCodeSequence_CodeMeaning"),
        pl.lit("postero-anterior").alias("ViewCodeSequence_CodeMeaning"),
        pl.lit("Erect").alias("PatientOrientationCodeSequence_CodeMeaning"),
    )
    splits = rng.choice(np.array(["train", "validate", "test"]), n_images, p=[0.978, 0.008, 0.014])
    split = (
        pl.DataFrame(ids).with_columns(pl.Series("split", splits)).select("dicom_id", "study_id", "subject_id", "split")
    )
    values = rng.choice(np.array([1.0, 0.0, -1.0, np.nan]), (n_studies, len(FINDINGS)), p=[0.12, 0.06, 0.04, 0.78])
    labels = pl.DataFrame({"subject_id": subject, "study_id": study}).with_columns(
        pl.Series(name, values[:, i], nan_to_null=True) for i, name in enumerate(FINDINGS)
    )
    for name, frame in (("metadata", metadata), ("split", split), ("chexpert", labels)):
        (top / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode(), 6))
    first = split.unique("study_id", keep="first", maintain_order=True)
    return first.sample(n_instances, seed=0).sort("subject_id", "study_id")


def report(rng: np.random.Generator) -> str:
    """Random text in the shape of a report, about 670 bytes."""
    picked = [SENTENCES[i] for i in rng.integers(0, len(SENTENCES), 14)]
    return (
        f"{' ' * 33}FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___ year old "
        f"with cough.\n \n COMPARISON:  ___.\n \n FINDINGS:  \n \n {' '.join(picked[:10])}\n \n IMPRESSION:  \n \n "
        f"{' '.join(picked[10:])}\n"
    )


def make_release(folder: Path, chosen: pl.DataFrame) -> None:
    """Instances and trajectories as Parquet, with the manifest's content hashes (made up: nothing reads the rest)."""
    folder.mkdir()
    instances = chosen.select(
        pl.col("dicom_id").alias("instance_id"),
        pl.col("subject_id", "study_id").cast(pl.Int32),
        pl.concat_list("dicom_id").alias("dicom_ids"),
        "split",
        pl.lit(["pneumonia"]).alias("diseases"),
    )
    instances.write_parquet(folder / "instances.parquet")
    teachers = pl.DataFrame({"teacher": TEACHER_IDS})
    keys = instances.join(teachers, how="cross").select("instance_id", "teacher", "subject_id", "study_id", "split")
    keys.write_parquet(folder / "trajectories.parquet")
    tables = {name: {"content_hash": name} for name in ("instances", "trajectories")}
    (folder / "manifest.json").write_text(json.dumps({"version": "1.0.0", "tables": tables}))


def make_world(top: Path, size: tuple[int, int, int]) -> None:
    """Everything the measurements read."""
    rng = np.random.default_rng(0)
    tree, zipped = top / "tree", top / "zipped"
    tree.mkdir(parents=True)
    zipped.mkdir()
    chosen = make_tables(tree, size, rng)
    make_release(top / "release", chosen)
    pixel = top / "pixel.jpg"
    Image.new("L", (8, 8)).save(pixel)
    for dicom, study, subject, _ in chosen.iter_rows():
        folder = tree / f"files/p{str(subject)[:2]}/p{subject}/s{study}"
        folder.mkdir(parents=True)
        os.link(pixel, folder / f"{dicom}.jpg")
        (folder.parent / f"s{study}.txt").write_text(report(rng))
    labels = pl.read_csv(tree / "mimic-cxr-2.0.0-chexpert.csv.gz", columns=["subject_id", "study_id"])
    with zipfile.ZipFile(zipped / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for subject, study in labels.iter_rows():
            archive.writestr(f"files/p{str(subject)[:2]}/p{subject}/s{study}.txt", report(rng))
    for path in tree.glob("*.gz"):
        os.link(path, zipped / path.name)


class Release:
    """The least that a join needs of a release."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())

    def scan(self, table: str) -> pl.LazyFrame:
        """A table, lazily."""
        return pl.scan_parquet(self.folder / f"{table}.parquet")


def ours(release: Path, root: Path, text: bool) -> Any:
    """Our join of the same columns, collected."""
    from cxr_max import mimic

    joined = mimic.join(Release(release), root)
    return (joined.frame_with_text if text else joined.frame).collect()


def measure(what: str, top: Path) -> dict[str, float]:
    """One measurement, in this process: `what` is <who>-<lazy|text>-<tree|zipped>."""
    who, kind, place = what.split("-")
    release, root, text = top / "release", top / place, kind == "text"
    if who == "pandas":
        from benchmarks import _pandas_join

        work = _pandas_join.join_text if text else _pandas_join.join
        arguments: tuple[Any, ...] = (release, root)
    else:
        from cxr_max import mimic

        assert mimic.joined
        work, arguments = ours, (release, root, text)  # type: ignore[assignment]
    before, begun = os.times(), time.perf_counter()
    rows = work(*arguments)
    wall, after = time.perf_counter() - begun, os.times()
    assert len(rows) == pl.read_parquet(release / "trajectories.parquet").height
    assert rows["Edema"].dtype is not None
    cpu = sum(after[:4]) - sum(before[:4])
    return {"wall_s": round(wall, 4), "cpu_s": round(cpu, 4), "peak_mib": common.peak_mib()}


def best(what: str, top: Path, cache: Path, repeats: int) -> dict[str, float]:
    """The fastest of several processes; `first` starts each from an empty cache, `second` from a filled one."""
    who = what.partition("-")[0]
    rows = []
    for i in range(repeats):
        folder = cache / (what if who == "second" else f"{what}{i}")
        call = f"measure({what!r}, Path({str(top)!r}))"
        code = f"from benchmarks.mimic_join import *; print(json.dumps({call}))"
        for _ in range(2 if who == "second" and not i else 1):
            environment = {**os.environ, "CXR_MAX_CACHE": str(folder)}
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode:
                raise RuntimeError(done.stderr)
        rows.append(json.loads(done.stdout))
    return min(rows, key=lambda r: r["wall_s"]) | {"peak_mib": max(r["peak_mib"] for r in rows)}


def main(tiny: bool) -> None:
    """Make the world, measure both sides, compare."""
    repeats = 1 if tiny else REPEATS
    with tempfile.TemporaryDirectory() as name:
        top, cache = Path(name), Path(name) / "caches"
        make_world(top, TINY if tiny else FULL)
        kinds = ("lazy-tree", "text-tree", "text-zipped")
        rows = {
            f"{who}-{kind}": best(f"{who}-{kind}", top, cache, repeats)
            for kind in kinds
            for who in ("pandas", "first", "second")
        }
    figures: dict[str, Any] = {
        "sizes": dict(zip(("studies", "images", "instances"), TINY if tiny else FULL, strict=True))
    }
    figures |= rows
    for kind in kinds:
        figures[f"ratio {kind}"] = round(rows[f"pandas-{kind}"]["wall_s"] / rows[f"first-{kind}"]["wall_s"], 2)
        figures[f"ratio second run {kind}"] = round(
            rows[f"first-{kind}"]["wall_s"] / rows[f"second-{kind}"]["wall_s"], 1
        )
    common.write("mimic_join", figures, tiny=tiny, packages=("polars", "pandas", "pyarrow"))


if __name__ == "__main__":
    common.run(main, __doc__)
