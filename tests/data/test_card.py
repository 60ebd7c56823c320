"""The card, its front matter and croissant.json against the code, and the Croissant file against mlcroissant."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from cxr_max.data import card, croissant
from cxr_max.data import manifest as manifests
from cxr_max.schema import FINDINGS, TABLES
from tests.data import handmade

ROOT = Path(__file__).resolve().parents[2]
RELEASED = [t for t in TABLES.values() if t.released]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.write(tmp_path_factory.mktemp("card") / "cxr-max", synthetic=False)


def front(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_front_matter_names_the_licence_and_every_table(release: Path) -> None:
    meta = front((release / "README.md").read_text(encoding="utf-8"))
    assert meta["license"] == "other"
    assert meta["license_name"] == "physionet-credentialed-health-data-1.5.0"
    manifest = manifests.read(release)
    assert [c["config_name"] for c in meta["configs"]] == [t for t in TABLES if t in manifest["tables"]]
    assert [c["config_name"] for c in meta["configs"] if c.get("default")] == ["trajectories"]
    for config in meta["configs"]:
        matched = {str(p.relative_to(release)) for f in config["data_files"] for p in release.glob(f["path"])}
        assert matched == {n for n in manifest["files"] if n.startswith(f"{config['config_name']}/")}
        assert {f["split"] for f in config["data_files"]} == set(manifest["tables"][config["config_name"]]["splits"])
    for info in meta["dataset_info"]:
        splits = manifest["tables"][info["config_name"]]["splits"]
        assert {s["name"]: s["num_examples"] for s in info["splits"]} == splits


@pytest.mark.parametrize("table", RELEASED, ids=lambda t: t.name)
def test_the_features_of_the_front_matter_are_those_of_the_schema(table: Any) -> None:
    fields = [{"name": c.name, **card.features(c.dtype)} for c in table.columns]
    assert datasets.Features._from_yaml_list(yaml.safe_load(yaml.safe_dump(fields))) == table.features()


SAID = (
    "told the diagnoses",
    "rationalisation",
    "no evidence",
    "Not for clinical use",
    "One generation per teacher",
    "unknown",
    "PhysioNet agreement is undocumented",
    "automatic labeler",
    "One hospital",
    "license: other",
    "physionet-credentialed-health-data-1.5.0",
)


def test_the_first_screen_says_what_a_user_must_know(release: Path) -> None:
    body = (release / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    # A screen: forty lines of at most 120 characters, before the first section.
    screen = body.partition("\n## ")[0]
    assert len(screen.splitlines()) <= 40
    for words in SAID:
        assert words.lower() in screen.lower().replace("\n>   ", " "), words


def test_the_card_is_deterministic_complete_and_leaves_no_placeholder(release: Path) -> None:
    manifest = manifests.read(release)
    tables = {n: TABLES[n] for n in manifest["tables"]}
    assert card.render(manifest, tables) == card.render(manifest, tables)
    assert croissant.render(manifest, tables) == croissant.render(manifest, tables)
    text = card.render(manifest, tables)
    assert not re.search(r"\{\{|\}\}", text)
    for name, table in tables.items():
        section = text.split(f"### `{name}`\n", 1)[1].split("\n#", 1)[0]
        for column in table.columns:
            assert re.search(rf"\| (\*\*)?{column.name}(\*\*)? \|.*\| {column.data_class} \|", section), column.name


def test_a_synthetic_card_says_so_first_and_is_free(tmp_path: Path) -> None:
    text = (handmade.write(tmp_path / "r") / "README.md").read_text(encoding="utf-8")
    assert "SYNTHETIC" in text.split("---\n", 2)[2][:200]
    assert front(text)["license"] == "apache-2.0"


def test_repeated_generations_change_the_sentence(release: Path) -> None:
    manifest = {**manifests.read(release), "counts": {"generations": 5, "teacher": {"gpt-5": 5}}}
    assert "Up to 5 generations per teacher." in card.render(manifest, {"instances": TABLES["instances"]})


def test_the_template_names_only_values_there_are() -> None:
    for name in ("dataset_card.md", "croissant.json"):
        used = set(re.findall(r"\{\{(\w+)\}\}", (ROOT / "cards" / name).read_text(encoding="utf-8")))
        known = set(card.facts({**manifests.draft("1.0.0", synthetic=False), "release_hash": ""}, {}))
        assert used <= known
    with pytest.raises(KeyError):
        card.fill("{{nothing}}", {})


RAI = (
    "dataCollection", "dataCollectionType", "dataCollectionMissingData", "dataCollectionRawData",
    "dataPreprocessingProtocol", "dataAnnotationProtocol", "machineAnnotationTools", "annotationsPerItem",
    "dataBiases", "dataLimitations", "dataUseCases", "dataSocialImpact", "personalSensitiveInformation",
    "dataReleaseMaintenancePlan",
)  # fmt: skip


def test_croissant_is_valid_for_mlcroissant_and_gives_the_rows(release: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    opened = mlc.Dataset(str(release / "croissant.json"))
    assert not opened.metadata.ctx.issues.errors
    assert not opened.metadata.ctx.issues.warnings
    assert {r.id for r in opened.metadata.record_sets} == set(manifests.read(release)["tables"])
    rows = handmade.rows()
    for table, wanted in rows.items():
        got = list(opened.records(table))
        assert len(got) == len(wanted)
    by_id = {r["instance_id"]: r for r in rows["preferences"]}
    for row in opened.records("preferences"):
        one = by_id[row["preferences/instance_id"].decode()]
        assert [r["preferences/rejected/trajectory"].decode() for r in row["preferences/rejected"]] == [
            r["trajectory"] for r in one["rejected"]
        ]


def test_croissant_has_the_rai_fields_and_the_manifests_hashes(release: Path) -> None:
    document = json.loads((release / "croissant.json").read_text(encoding="utf-8"))
    assert "http://mlcommons.org/croissant/RAI/1.0" in document["conformsTo"]
    for name in RAI:
        assert document[f"rai:{name}"], name
    files = manifests.read(release)["files"]
    hashes = {d["contentUrl"]: d["sha256"] for d in document["distribution"] if d["@type"] == "cr:FileObject"}
    assert hashes == {n: e["sha256"] for n, e in files.items() if n.endswith(".parquet")}
    assert "told the diagnoses" in document["description"]
    assert document["version"] == "1.0.0"


def test_findings_of_the_schema_are_what_the_card_describes() -> None:
    text = card.render(
        {**manifests.draft("1.0.0", synthetic=False), "tables": {"findings": {"rows": 0, "splits": {}}}},
        {"findings": TABLES["findings"]},
    )
    assert all(f in text for f in FINDINGS)
