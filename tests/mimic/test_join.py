"""The join: rows and their account, every kind of mismatch planted once."""

import hashlib
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from cxr_max import mimic
from cxr_max.errors import RestrictedDataError, UnknownNameError
from cxr_max.mimic import coverage, store
from cxr_max.schema import FINDINGS, Scannable, table
from tests.mimic import world

TEACHERS = ("gpt-5", "moonshot")
DISEASES = [
    ["cardiomegaly", "pleural effusion"],  # equal
    ["cardiomegaly"],  # subset, the second image of the same study
    ["edema", "lung opacity"],  # uncertain
    ["Pneumonia"],  # the row says No Finding
    ["Pneumonia", "Fracture"],  # superset
    ["Pneumonia"],  # an empty row
    ["Pneumonia"],  # no row
]


def make_release(**changes: list[object]) -> world.Release:
    instances = pl.DataFrame(
        {
            "instance_id": [i for _, _, i, _ in world.IMAGES],
            "unit": ["image"] * len(world.IMAGES),
            "subject_id": [s for s, _, _, _ in world.IMAGES],
            "study_id": [t for _, t, _, _ in world.IMAGES],
            "dicom_ids": [[i] for _, _, i, _ in world.IMAGES],
            "split": [x for _, _, _, x in world.IMAGES],
            "view": None,
            "diseases": DISEASES,
            "n_teachers": len(TEACHERS),
            **changes,
        },
        schema=table("instances").polars(),
    )
    rows = [(i, t, s, x) for i, s, x in instances.select("instance_id", "subject_id", "split").rows() for t in TEACHERS]
    trajectories = pl.DataFrame(rows, schema=["instance_id", "teacher", "subject_id", "split"], orient="row")
    return world.Release({"instances": instances, "trajectories": trajectories})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return world.write_world(tmp_path / "mimic")


def statuses(joined: mimic.Joined, what: str) -> list[str | None]:
    return joined.coverage.instances[what].to_list()


def test_a_join_of_everything(root: Path) -> None:
    release = make_release()
    joined = mimic.join(release, root)
    assert isinstance(joined, Scannable)
    assert joined.manifest == release.manifest
    rows = joined.frame.collect()
    assert rows.height == len(world.IMAGES) * len(TEACHERS)
    assert rows["instance_id"].to_list() == release.tables["trajectories"]["instance_id"].to_list()
    for row in rows.iter_rows(named=True):
        (path,) = row["images"]
        assert Path(path).is_file()
        assert row["instance_id"] in path
    assert joined.coverage.matched.count == len(world.IMAGES)
    assert joined.coverage.missing.count == joined.coverage.ambiguous.count == joined.coverage.contradicting.count == 0
    assert set(statuses(joined, "report_status")) == {"present"}
    assert set(statuses(joined, "hash_status")) == {"unchecked"}


def test_labels_stay_null_where_they_were_empty(root: Path) -> None:
    rows = mimic.join(make_release(), root).frame.unique("instance_id").sort("instance_id").collect()
    assert rows.schema["Edema"] == pl.Int8
    for row in rows.iter_rows(named=True):
        study = next(t for _, t, i, _ in world.IMAGES if i == row["instance_id"])
        assert {f: row[f] for f in FINDINGS if row[f] is not None} == world.LABELS.get(study, {})


def test_the_agreement_of_prompt_and_label_row(root: Path) -> None:
    joined = mimic.join(make_release(), root)
    assert statuses(joined, "agreement") == ["equal", "subset", "uncertain", "No Finding", "superset", "empty", None]
    assert joined.coverage.label_agreement["no label row"].count == 1
    assert joined.coverage.label_agreement["equal"].keys.to_list() == [world.IMAGES[0][2]]
    assert statuses(joined, "label_status") == [*["present"] * 5, "all_empty", "missing"]


@pytest.mark.parametrize(
    ("diseases", "labels", "expected"),
    [
        (["A"], {"A": 1}, "equal"),
        (["A", "a "], {"A": 1}, "equal"),
        ([], {"B": 0}, "equal"),
        ([], {"A": 1}, "subset"),
        (["Support Devices"], {"No Finding": 1, "Support Devices": 1}, "subset"),
        (["No Finding"], {"No Finding": 1}, "equal"),
        (["A"], {"No Finding": 1, "A": 0}, "No Finding"),
        (["A"], {"A": 0, "B": 1}, "conflicting"),
        (["A", "C"], {"A": 0, "C": -1}, "conflicting"),
        (["A", "C"], {"A": -1, "B": 1}, "uncertain"),
        (["A", "C"], {"A": 1}, "superset"),
        (["A"], {"B": 0}, "superset"),
        (["A", "C"], {"A": 1, "B": 1}, "conflicting"),
        (["scoliosis"], {"A": 1}, "conflicting"),
        (["A", "scoliosis"], {"A": 1}, "superset"),
        (["A"], {}, "empty"),
    ],
)
def test_classes_of_agreement(diseases: list[str], labels: dict[str, int], expected: str) -> None:
    names = {"A": "Edema", "B": "Pneumonia", "C": "Lung Opacity"}
    row = {names.get(k, k): v for k, v in labels.items()}
    prompt = [d.replace(d.strip(), names.get(d.strip().upper(), d.strip())) for d in diseases]
    frame = pl.DataFrame(
        {"diseases": [prompt], "label_status": ["present" if labels else "all_empty"]},
        schema={"diseases": pl.List(pl.String), "label_status": pl.String},
    ).with_columns(pl.lit(row.get(f), pl.Int8).alias(f) for f in FINDINGS)
    assert coverage.agreement(frame).to_list() == [expected]


def test_missing_images_and_reports_are_counted_and_their_rows_kept(root: Path) -> None:
    subject, study, image, _ = world.IMAGES[2]
    (root / "files" / world.tree_path(subject, study, f"{image}.jpg")).unlink()
    (root / "files" / f"{world.tree_path(subject, study)}.txt").unlink()
    joined = mimic.join(make_release(), root)
    assert joined.coverage.missing.keys.to_list() == [image]
    assert joined.coverage.group("report_status", "missing").keys.to_list() == [image]
    row = joined.frame.filter(pl.col("instance_id") == image).collect()
    assert row.height == len(TEACHERS)
    assert row["images"].to_list() == [[]] * len(TEACHERS)
    references = joined.scan("references").collect()
    assert references.filter(pl.col("instance_id") == image)["report_status"].item() == "missing"
    assert references.height == len(world.IMAGES)


def test_an_instance_of_several_images_of_which_one_is_missing(root: Path) -> None:
    first, second = world.IMAGES[0][2], world.IMAGES[1][2]
    release = make_release(
        dicom_ids=[[second, first], [second, "no-such-image"], [], *([i] for _, _, i, _ in world.IMAGES[3:])]
    )
    joined = mimic.join(release, root)
    assert statuses(joined, "image_status")[:3] == ["matched", "partial", "missing"]
    assert statuses(joined, "id_status")[:3] == ["agree", "unlisted", "unlisted"]
    paths = joined.matched.instances["images"].to_list()
    assert [Path(p).stem for p in paths[0]] == [second, first], "the instance's own order"
    assert joined.coverage.missing.count == 2
    images = joined.scan("images").collect()
    assert images.schema == table("images").polars()
    assert images.filter(pl.col("dicom_id") == "no-such-image")["path"].to_list() == [None]


def test_contradicting_ids_join_nothing(root: Path) -> None:
    studies = [t for _, t, _, _ in world.IMAGES]
    release = make_release(study_id=[50000203, *studies[1:]])
    joined = mimic.join(release, root)
    assert joined.coverage.contradicting.keys.to_list() == [world.IMAGES[0][2]]
    row = joined.matched.instances.row(0, named=True)
    assert (row["image_status"], row["label_status"], row["report_status"]) == ("contradicting",) * 3
    assert row["images"] == []
    assert all(row[f] is None for f in FINDINGS)
    assert joined.scan("references").collect().row(0, named=True)["findings"] is None


def test_an_image_of_two_studies_and_a_study_with_two_label_rows_are_ambiguous(root: Path) -> None:
    image = world.IMAGES[0][2]
    world.write_tables(root, zipped=False)
    split = root / "mimic-cxr-2.0.0-split.csv"
    lines = split.read_text().splitlines()
    split.write_text("\n".join([*lines, lines[2], lines[1], lines[1].replace("50000201", "50000299"), ""]))
    labels = root / "mimic-cxr-2.0.0-chexpert.csv"
    rows = labels.read_text().splitlines()
    other = rows[4].replace("1.0", "0.0")
    labels.write_text("\n".join([*rows, rows[1], other, ""]))
    joined = mimic.join(make_release(), root)
    assert joined.coverage.ambiguous.keys.to_list() == [image, world.IMAGES[4][2]]
    assert statuses(joined, "id_status")[0] == "ambiguous"
    assert statuses(joined, "label_status")[4] == "ambiguous"
    assert joined.matched.instances["Pneumonia"][4] is None


def test_verifying_also_compares_the_tables_with_each_other(root: Path) -> None:
    world.write_tables(root, zipped=False)
    metadata = root / "mimic-cxr-2.0.0-metadata.csv"
    metadata.write_text(
        metadata.read_text().replace(f"{world.IMAGES[2][2]},10000101", f"{world.IMAGES[2][2]},10000199")
    )
    assert mimic.join(make_release(), root).coverage.ambiguous.count == 0
    verified = mimic.join(make_release(), root, options=mimic.Options(verify=True))
    assert verified.coverage.ambiguous.keys.to_list() == [world.IMAGES[2][2]]


def test_a_split_that_differs_is_counted(root: Path) -> None:
    splits = [x for _, _, _, x in world.IMAGES]
    joined = mimic.join(make_release(split=["test", *splits[1:]]), root)
    assert statuses(joined, "split_status") == ["differs", *["agree"] * 6]


def test_hashes_are_verified_when_asked_for(root: Path) -> None:
    files = [p for p in root.rglob("*") if p.is_file()]
    spaces = iter([" ", "  ", " *"] * len(files))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}{next(spaces)}{p.relative_to(root)}" for p in files]
    (root / "SHA256SUMS.txt").write_text("\n".join([*lines, "not a line", ""]))
    options = mimic.Options(verify=True)
    assert set(statuses(mimic.join(make_release(), root, options=options), "hash_status")) == {"ok"}
    subject, study, image, _ = world.IMAGES[3]
    world.picture(99).save(root / "files" / world.tree_path(subject, study, f"{image}.jpg"))
    subject, study, other, _ = world.IMAGES[4]
    (root / "files" / f"{world.tree_path(subject, study)}.txt").write_text("changed")
    world.write_tables(root, zipped=True)
    (root / "mimic-cxr-2.0.0-split.csv.gz").write_bytes((root / "mimic-cxr-2.0.0-chexpert.csv.gz").read_bytes())
    with pytest.raises(Exception, match="split"):
        mimic.join(make_release(), root, options=options)
    world.write_tables(root, zipped=True)
    (root / "mimic-cxr-2.0.0-negbio.csv.gz").write_bytes(b"other")
    joined = mimic.join(make_release(), root, options=options, refresh=True)
    assert joined.coverage.bad_hash.keys.to_list() == [image, other]
    assert "mimic-cxr-2.0.0-negbio.csv.gz" in joined.coverage.bad_tables


def test_counts_by_split_and_teacher_add_up_and_hold_no_ids(root: Path) -> None:
    counts = mimic.join(make_release(), root).coverage.counts()
    assert counts["instances"] == len(world.IMAGES)
    assert counts["trajectories"] == len(world.IMAGES) * len(TEACHERS)
    for what in coverage.STATUSES:
        mine = [r["rows"] for r in counts["by_split_and_teacher"] if r["what"] == what]
        assert sum(mine) == counts["trajectories"]
        assert sum(counts[what].values()) == counts["instances"]
    text = json.dumps(counts)
    assert not any(i in text or str(t) in text or str(s) in text for s, t, i, _ in world.IMAGES)


def test_trajectories_without_an_instance_are_counted(root: Path) -> None:
    release = make_release()
    release.tables["instances"] = release.tables["instances"].head(6)
    joined = mimic.join(release, root)
    assert joined.frame.collect().height == len(world.IMAGES) * len(TEACHERS)
    lost = joined.coverage.trajectories.filter(pl.col("value") == "no instance row", what="image_status")
    assert lost["rows"].sum() == len(TEACHERS)


def test_tables_only_images_only_and_reports_only_roots(root: Path, tmp_path: Path) -> None:
    world.write_tables(tmp_path / "tables")
    only = mimic.join(make_release(), tmp_path / "tables")
    assert only.coverage.missing.count == len(world.IMAGES)
    assert set(statuses(only, "id_status")) == {"agree"}
    assert set(statuses(only, "report_status")) == {"missing"}
    world.write_images(tmp_path / "flat", flat=True)
    flat = mimic.join(make_release(), tmp_path / "flat")
    assert flat.coverage.matched.count == len(world.IMAGES)
    assert set(statuses(flat, "id_status")) == set(statuses(flat, "label_status")) == {"unchecked"}
    both = mimic.join(make_release(), [tmp_path / "tables", tmp_path / "flat"])
    assert both.coverage.matched.count == len(world.IMAGES)


def test_dicom_is_taken_where_there_is_no_jpg_or_when_preferred(root: Path) -> None:
    subject, study, image, _ = world.IMAGES[0]
    jpg = root / "files" / world.tree_path(subject, study, f"{image}.jpg")
    jpg.with_suffix(".dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert mimic.join(make_release(), root).scan("images").collect()["kind"][0] == "jpg"
    preferred = mimic.join(make_release(), root, options=mimic.Options(prefer="dicom")).scan("images").collect()
    assert preferred["kind"].to_list() == ["dicom", *["jpg"] * 6]
    jpg.unlink()
    assert mimic.join(make_release(), root, refresh=True).scan("images").collect()["kind"][0] == "dicom"


def test_labels_of_every_labeler_found(root: Path) -> None:
    labels = mimic.join(make_release(), root).scan("labels").collect()
    assert labels.schema == table("labels").polars()
    assert labels.height == 3 * len(world.LABELS)
    assert set(labels["labeler"]) == {"chexpert", "negbio", "radiologist"}
    joined = mimic.join(make_release(), root, options=mimic.Options(labeler="radiologist"))
    assert statuses(joined, "label_status") == [*["present"] * 5, "all_empty", "missing"]
    with pytest.raises(UnknownNameError, match="chexbert"):
        mimic.join(make_release(), root, options=mimic.Options(labeler="chexbert"))


def test_patients_whose_study_a_radiologist_labelled_are_marked(root: Path) -> None:
    """The radiologist's file names studies alone: their patients come from the other tables."""
    file = root / "mimic-cxr-2.1.0-test-set-labeled.csv"
    header, *rows = file.read_text().splitlines()
    subject, study, _, _ = world.STUDIES[0]
    file.write_text("\n".join([header, *(r for r in rows if r.startswith(f"{study},"))]) + "\n")
    marked = mimic.join(make_release(), root).scan("overlap").collect()
    theirs = marked.filter(pl.col("evaluation_sets").list.contains("radiologist"))
    assert set(theirs["subject_id"]) == {subject}
    # Every instance of the patient is marked, also those of studies that no radiologist saw.
    assert theirs.height == sum(s == subject for s, *_ in world.IMAGES)
    assert mimic.join(make_release(), root).coverage.counts()["evaluation_sets"]["radiologist"] == theirs.height


def test_patients_of_evaluation_sets_are_marked(root: Path, tmp_path: Path) -> None:
    (root / "mimic-cxr-2.1.0-test-set-labeled.csv").unlink()
    temporal = tmp_path / "ms-cxr-t"
    temporal.mkdir()
    pair = f"p10/p10000102/s50000203/{world.IMAGES[3][2]}"
    (temporal / "MS_CXR_T_temporal_image_classification_v1.0.0.csv").write_text(
        f"dicom_id,previous_dicom_id,study_id,edema_progression\n{pair},{pair},50000203,stable\n"
    )
    grounding = tmp_path / "ms-cxr"
    grounding.mkdir()
    (grounding / "MS_CXR_Local_Alignment_v1.0.0.csv").write_text(f"dicom_id,x\n{world.IMAGES[6][2]},1\n")
    joined = mimic.join(make_release(), [root, temporal, grounding])
    assert joined.scan("overlap").collect()["evaluation_sets"].to_list() == [
        [], [], [], ["ms-cxr-t"], ["mimic-cxr validate"], ["mimic-cxr test"], ["ms-cxr"],
    ]  # fmt: skip
    assert joined.scan("overlap").collect().schema == table("overlap").polars()
    assert joined.coverage.counts()["evaluation_sets"] == {
        "mimic-cxr test": 1, "mimic-cxr validate": 1, "ms-cxr": 1, "ms-cxr-t": 1,
    }  # fmt: skip


def test_a_second_join_comes_from_the_cache_and_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_release()
    first = mimic.join(release, root)
    text = first.scan("references").collect()
    monkeypatch.setattr("cxr_max.mimic.match.match", None)
    monkeypatch.setattr("cxr_max.mimic.reports.references", None)
    second = mimic.join(release, root)
    assert second.matched.instances.equals(first.matched.instances)
    assert second.coverage.counts() == first.coverage.counts()
    assert second.scan("references").collect().equals(text)
    assert second.folder is not None
    assert second.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "change", ["release", "table", "option", "image appears", "report appears", "refresh", "damage"]
)
def test_what_makes_the_cache_stale(change: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, study, image, _ = world.IMAGES[2]
    jpg = root / "files" / world.tree_path(subject, study, f"{image}.jpg")
    txt = root / "files" / f"{world.tree_path(subject, study)}.txt"
    kept = {p: p.read_bytes() for p in (jpg, txt)}
    jpg.unlink()
    txt.unlink()
    release, options, refresh = make_release(), mimic.Options(), False
    before = mimic.join(release, root)
    was = before.fingerprint
    if change == "release":
        release = make_release(diseases=[["Edema"]] * len(world.IMAGES))
    elif change == "table":
        table_file = root / "mimic-cxr-2.0.0-chexpert.csv.gz"
        shutil.copy(root / "mimic-cxr-2.0.0-negbio.csv.gz", table_file)
    elif change == "option":
        options = mimic.Options(labeler="negbio")
    elif change == "image appears":
        jpg.write_bytes(kept[jpg])
    elif change == "report appears":
        txt.write_bytes(kept[txt])
    elif change == "damage":
        assert before.folder is not None
        (before.folder / "images.arrow").write_bytes(b"ARROW1")
    else:
        refresh = True
    called: list[bool] = []
    real = mimic.match.match
    monkeypatch.setattr("cxr_max.mimic.match.match", lambda *a: called.append(True) or real(*a))
    after = mimic.join(release, root, options=options, refresh=refresh)
    assert called
    if change in ("release", "image appears", "report appears"):
        assert after.fingerprint != was
    if change in ("refresh", "damage"):
        assert after.fingerprint == was
    assert (after.coverage.missing.count == 0) == (change == "image appears")


def test_a_release_without_content_hashes_is_never_kept(root: Path) -> None:
    release = make_release()
    release.manifest = {"version": "1.0.0"}
    assert mimic.join(release, root).folder is None
    assert store.key(release.manifest, mimic.open_root(root), mimic.Options()) is None


def test_text_is_read_only_when_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = mimic.reports.read
    monkeypatch.setattr("cxr_max.mimic.reports.read", lambda place: opened.append(place.file) or real(place))
    joined = mimic.join(make_release(), root)
    joined.frame.collect()
    assert not opened
    rows = joined.frame_with_text.collect()
    assert len(opened) == len(world.STUDIES), "each report once, however many rows share it"
    assert rows["findings"].null_count() == 0


def test_exported_tables(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    joined = mimic.join(make_release(), root)
    names = {p.name for p in joined.export(out)}
    tables = {f"{t}.parquet" for t in ("references", "images", "labels", "overlap", "coverage")}
    assert names == {*tables, "coverage.json"}
    assert {p.name for p in out.iterdir()} == {*names, "RESTRICTED.md", ".gitignore"}
    assert out.stat().st_mode & 0o777 == 0o700
    assert pl.read_parquet(out / "references.parquet").schema == table("references").polars()
    assert joined.coverage.sound
    assert "references.parquet" not in {p.name for p in joined.export(tmp_path / "less", text=False)}


def test_nothing_is_exported_into_a_git_work_tree(root: Path, tmp_path: Path) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    with pytest.raises(RestrictedDataError, match="git work tree"):
        mimic.join(make_release(), root).export(tmp_path / "repository" / "out")
