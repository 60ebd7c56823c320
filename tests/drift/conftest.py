"""A small synthetic world, once: its raw outputs, reports and truth, as texts and as a joined release."""

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from cxr_max import data, drift, mimic, synth
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.sources import TextTables

DRAWS = {"draws": 60, "permutations": 39, "shuffles": 8, "embedding_n": 40}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drift") / "world"
    synth.write_world(synth.WorldConfig(subjects=40, seed=5, images=False), out)
    return out


@pytest.fixture(scope="session")
def texts(world: Path) -> Path:
    """texts.jsonl and references.jsonl of the world."""
    folder = world.parent / "texts"
    folder.mkdir()
    candidates, seen = [], {}
    for raw in sorted((world / "raw").glob("*.jsonl")):
        for line in raw.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            parts = row["image"].split("/")
            name = Path(parts[-1]).stem
            seen[name] = int(parts[3][1:])
            candidates.append(
                {
                    "id": name, "teacher": row["teacher"], "generation": row.get("generation", 0),
                    "subject_id": int(parts[2][1:]), "study_id": seen[name], "split": row["split"],
                    "prompt": row["prompt"], "text": row["response"], "synthetic": True,
                }
            )  # fmt: skip
    reports = {s: mimic.parse_report(t) for s, t in report_texts(world / "mimic", set(seen.values())).items()}
    references = [
        {"id": i, "findings": reports[s].get("findings"), "impression": reports[s].get("impression")}
        for i, s in seen.items()
    ]
    for name, rows in (("texts", candidates), ("references", references)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def report_texts(folder: Path, studies: set[int]) -> dict[int, str]:
    with zipfile.ZipFile(folder / "mimic-cxr-reports.zip") as archive:
        names = {int(Path(n).stem[1:]): n for n in archive.namelist() if n.endswith(".txt")}
        return {s: archive.read(names[s]).decode() for s in studies}


@pytest.fixture(scope="session")
def tables(texts: Path) -> TextTables:
    return drift.from_texts(texts / "texts.jsonl", texts / "references.jsonl")


@pytest.fixture(scope="session")
def encoded(tables: TextTables) -> Encoded:
    return drift.encode(tables, drift.Config())


@pytest.fixture(scope="session")
def report(tables: TextTables, encoded: Encoded) -> drift.DriftReport:
    return drift.from_encoded(encoded, drift.Config(**DRAWS), tables.manifest)


@pytest.fixture(scope="session")
def release(world: Path) -> Path:
    """A built release of the world."""
    out = world.parent / "release"
    data.build([world / "raw"], out)
    return out


@pytest.fixture(scope="session")
def assertions(world: Path) -> pl.DataFrame:
    return pl.read_parquet(world / "truth" / "assertions.parquet")
