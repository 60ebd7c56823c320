"""Raw files of every shape give the same release; what cannot be read is counted with its reason."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from cxr_max import data, prompts
from cxr_max.data import readers
from cxr_max.data.export import ExportConfig, export
from cxr_max.data.ingest import Ingested, ingest
from cxr_max.data.rows import REASONS
from cxr_max.data.shapes import Mapped, fold, load_mapping, recognise
from cxr_max.data.sources import find
from cxr_max.errors import CheckFailedError, DataError, MissingFileError, UnknownNameError, UsageError
from tests.data import toy


def read(*paths: Path, mapped: Mapped | None = None, **options: Any) -> Ingested:
    return ingest(find(paths), mapped or Mapped(), **options)


def texts(found: Ingested) -> list[tuple[str, str, str]]:
    return sorted(found.frame.select("instance_id", "teacher", "trajectory").iter_rows())


def write(path: Path, rows: list[dict[str, Any]], form: str) -> Path:
    lines = "".join(json.dumps(r) + "\n" for r in rows)
    if form == "json":
        path.write_text(json.dumps(rows))
    elif form == "pretty":
        path.write_text(json.dumps(rows, indent=2))
    elif form == "wrapped":
        path.write_text(json.dumps({"name": "x", "data": rows}))
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif form == "jsonl.zst":
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(lines.encode())
    elif form in ("csv", "csv.gz"):
        pl.DataFrame(rows).write_csv(path if form == "csv" else (plain := path.with_suffix("")))
        if form == "csv.gz":
            path.write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
    elif form == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif form == "bom":
        path.write_text(lines, encoding="utf-8-sig")
    else:
        path.write_text(lines)
    return path


FORMS = {
    "json": "a.json", "pretty": "b.json", "wrapped": "c.json", "jsonl": "d.jsonl", "misnamed": "e.json",
    "bom": "f.jsonl", "jsonl.gz": "g.jsonl.gz", "jsonl.zst": "h.jsonl.zst",
    "csv": "i.csv", "csv.gz": "j.csv.gz", "parquet": "k.parquet",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str, tmp_path: Path) -> None:
    rows = toy.rows(4)
    expected = texts(read(toy.write_jsonl(tmp_path / "expected.jsonl", rows)))
    found = read(write(tmp_path / FORMS[form], rows, form))
    assert texts(found) == expected
    assert found.rejected.counts.total() == 0


def llava(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": toy.dicom_id(0),
        "image": row["image"],
        "model": row["teacher"],
        "split": "val",
        "conversations": [
            {"from": "human", "value": f"<image>\n{row['prompt']}"},
            {"from": "gpt", "value": row["response"]},
        ],
    }


def swift(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "You are a radiologist."},
            {"role": "user", "content": f"<image>{row['prompt']}"},
            {"role": "assistant", "content": row["response"]},
        ],
        "images": [row["image"]],
        "split": "validation",
    }


@pytest.mark.parametrize("shape", [llava, swift])
def test_conversations(shape: Any, tmp_path: Path) -> None:
    row = toy.rows(1, ["gpt-5"])[0]
    found = read(toy.write_jsonl(tmp_path / "GPT-5-nano.jsonl", [shape(row)]))
    [only] = found.frame.to_dicts()
    assert only["teacher"] == "gpt-5"
    assert only["prompt"] == row["prompt"] == prompts.render(["Pleural Effusion"])
    assert only["trajectory"] == row["response"]
    assert only["split"] == "validate"


def test_a_wide_row_gives_one_row_per_teacher_and_counts_the_empty_one(tmp_path: Path) -> None:
    row = {
        "image": toy.image(0),
        "split": "train",
        "prompt": "p",
        "GPT-5-nano": "A.",
        "claude-sonnet-4": "B.",
        "Grok-4": "",
    }
    found = read(toy.write_jsonl(tmp_path / "wide.jsonl", [row]))
    assert sorted(found.frame["teacher"]) == ["gpt-5", "sonnet-4"]
    assert found.rejected.counts == {"no_text": 1}
    assert found.n_rows == 3


def test_teachers_by_file_name(tmp_path: Path) -> None:
    row = toy.rows(1, ["gpt-5"])[0]
    del row["teacher"], row["model"]
    for name, teacher in {
        "gpt-5-nano.jsonl": "gpt-5",
        "cxr_max_Qwen-VL-Max_train.jsonl": "qwen-vl-max",
        "Claude Sonnet-4.jsonl": "sonnet-4",
    }.items():
        assert read(toy.write_jsonl(tmp_path / name, [row])).frame["teacher"].to_list() == [teacher]
    # Another model of the same family is another teacher.
    assert read(toy.write_jsonl(tmp_path / "gpt-4o.jsonl", [row])).rejected.counts == {"no_teacher": 1}


def test_unknown_teachers_are_an_error_and_a_long_text_is_never_shown(tmp_path: Path) -> None:
    rows = toy.rows(1, ["gpt-5", "grok-4"])
    rows[0]["teacher"], rows[1]["teacher"] = "my-model", rows[1]["response"]
    path = toy.write_jsonl(tmp_path / "x.jsonl", rows)
    with pytest.raises(UnknownNameError, match="my-model") as e:
        read(path)
    assert rows[1]["response"][:20] not in str(e.value)
    rows[1]["teacher"] = "gpt-5"
    found = read(toy.write_jsonl(path, rows), allow_new_teachers=True)
    assert set(found.frame["teacher"]) == {"my-model", "gpt-5"}


def test_mapping(tmp_path: Path) -> None:
    record = {"meta": {"who": "model A"}, "pics": [{"p": toy.image(0)}], "out": {"t": "A text."}, "report": "not this"}
    path = toy.write_jsonl(tmp_path / "x.jsonl", [record])
    with pytest.raises(DataError, match="keys found: meta, pics, out, report") as e:
        read(path)
    assert "[fields]" in str(e.value)
    assert "--map" in str(e.value)
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        '[fields]\ntrajectory = "out.t"\nteacher = "meta.who"\nimage = "pics.0.p"\n'
        '[constants]\nsplit = "test"\nprompt = "p"\n[teachers]\n"model A" = "glm-4.5v"\n'
    )
    [row] = read(path, mapped=load_mapping(mapping)).frame.to_dicts()
    assert (row["teacher"], row["trajectory"], row["split"]) == ("glm-4.5v", "A text.", "test")


@pytest.mark.parametrize(
    "text", ["[fields]\nnope = 'a'\n", "[wrong]\n", "x = ", "fields = 3\n", "[fields]\nprompt = 3\n"]
)
def test_a_bad_mapping_is_wrong_use(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(UsageError):
        load_mapping(path)
    with pytest.raises(MissingFileError):
        load_mapping(tmp_path / "none.toml")


def bad(**change: Any) -> dict[str, Any]:
    row = {**toy.rows(1, ["gpt-5"])[0], **change}
    return {k: v for k, v in row.items() if v is not ...}


REJECTED = {
    "no_text": [bad(response=v) for v in (None, " \n", float("nan"), {"a": 1}, "")],
    "no_prompt": [bad(prompt=None), bad(prompt=...), bad(prompt=["x"])],
    "unknown_id": [
        bad(image="../../etc/passwd"), bad(image="x/scan1.png"), bad(image=None), bad(image=...),
        bad(image=f"files/p10/p10000000/s50000000/../../{toy.dicom_id(1)}.jpg"), bad(image=["a.jpg", "b.jpg"]),
    ],
    "unknown_split": [bad(split="holdout"), bad(split=3)],
    "invalid_encoding": [bad(response="a \ud800 b"), bad(prompt="\udfff")],
    "over_long": [bad(response="a" * 1_000_001), bad(response="a " * 70_000)],
    "unknown_generation": [bad(generation={"a": 1}), bad(generation=True), bad(generation="x" * 200)],
    "no_teacher": [bad(teacher=..., model=...), bad(teacher=float("nan"))],
}  # fmt: skip


@pytest.mark.parametrize("reason", REJECTED)
def test_rejections(reason: str, tmp_path: Path) -> None:
    assert reason in REASONS
    rows = REJECTED[reason]
    found = read(toy.write_jsonl(tmp_path / "x.jsonl", [toy.rows(1, ["gpt-5"])[0], *rows]))
    assert found.rejected.counts == {reason: len(rows)}
    assert found.n_rows == len(rows) + 1
    assert found.rejected.places == [(reason, 0, i) for i in range(2, len(rows) + 2)]


def test_broken_lines_cost_themselves_only(tmp_path: Path) -> None:
    good = json.dumps(toy.rows(1, ["gpt-5"])[0]).encode()
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b"\n".join([good, b'{"image": "a', b"[1]", good.replace(b"Image", b"Im\xe9ge"), b"", b"null", good])
    )
    found = read(path)
    assert found.frame.height == 2
    assert found.rejected.places == [
        ("broken_record", 0, 2), ("broken_record", 0, 3), ("invalid_encoding", 0, 4), ("broken_record", 0, 6),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("form", ["jsonl", "json", "pretty", "csv"])
def test_records_across_chunks(size: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy.rows(2, ["gpt-5", "grok-4"])
    path = write(tmp_path / FORMS[form], rows, form)
    monkeypatch.setattr(readers, "_CHUNK", size)
    found = [r.fields for r in readers.read(path)]
    assert [r["response"] for r in found if r] == [r["response"] for r in rows]


def test_an_over_long_line_is_rejected_and_the_next_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CHUNK", 1_000)
    monkeypatch.setattr(readers, "MAX_RECORD", 5_000)
    row = toy.rows(1, ["gpt-5"])[0]
    path = toy.write_jsonl(
        tmp_path / "x.jsonl", [row, {**row, "response": "x" * 20_000}, row, {**row, "response": "y" * 9_000}]
    )
    assert [(r.line, r.reason) for r in readers.read(path)] == [(1, ""), (2, "over_long"), (3, ""), (4, "over_long")]


@pytest.mark.parametrize("form", FORMS)
def test_a_trajectory_of_ten_megabytes_is_counted_and_the_others_are_built(form: str, tmp_path: Path) -> None:
    rows = toy.rows(20)
    rows[70]["response"] = "There is a small left pleural effusion. " * 262_144
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / FORMS[form], rows, form)
    built = data.build([tmp_path / "raw"], tmp_path / "out", findings=False, version="1.0.0")
    assert built.rejected == {"over_long": 1}
    texts = built.release.scan("trajectories").collect()["trajectory"]
    assert texts.len() == len(rows) - 1
    assert int(texts.str.len_chars().max()) < 1_000  # type: ignore[arg-type]
    rejected = (tmp_path / "out" / "restricted" / "rejected.jsonl").read_text()
    assert json.loads(rejected)["reason"] == "over_long"
    assert len(rejected) < 10_000


def damaged() -> dict[str, tuple[str, bytes]]:
    good = json.dumps(toy.rows(1, ["gpt-5"])).encode()
    return {
        "empty": ("x.jsonl", b""),
        "blank": ("x.jsonl", b" \n\n"),
        "truncated array": ("x.json", good[:-30]),
        "unclosed array": ("x.json", good[:-1]),
        "array with a broken element": ("x.json", b'[{"a": 1}, {"b" 2}]'),
        "latin-1 array": ("x.json", '[{"a": "é"}]'.encode("latin-1")),
        "broken object": ("x.json", b'{\n"a": '),
        "utf-16": ("x.jsonl", good.decode().encode("utf-16")),
        "truncated gzip": ("x.jsonl.gz", gzip.compress(good * 50)[:-20]),
        "no gzip": ("x.jsonl.gz", b"hello"),
        "damaged gzip": ("x.jsonl.gz", gzip.compress(good)[:20] + b"\0\xff" * 50),
        "no zstd": ("x.jsonl.zst", b"hello world"),
        "open quote": ("x.csv", b'image,response\na,"b\nc,d\n'),
        "no parquet": ("x.parquet", b"PAR1 and then nothing"),
        "deep nesting": ("x.json", b"[" * 100_000),
    }


@pytest.mark.parametrize("case", damaged())
def test_damaged_files_are_errors(case: str, tmp_path: Path) -> None:
    name, content = damaged()[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as e:
        read(tmp_path / name)
    assert name in str(e.value)


def test_a_truncated_zstd_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.zst", toy.rows(40), "jsonl.zst")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError):
        read(path)


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "RATIO_FROM", 1 << 20)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress((b"x" * 1000 + b"\n") * 50_000))
    with pytest.raises(DataError, match="expands"):
        read(path)


def test_csv_with_wrong_columns_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "gpt-5.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["image", "prompt", "response", "split"], [toy.image(0), "p", "t", "train"], ["a", "b"], list("abcde")]
        )
    found = read(path)
    assert found.frame.height == 1
    assert found.rejected.counts == {"broken_record": 2}


def test_folders_links_and_hidden_files(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    path = toy.write_jsonl(raw / "sub" / "gpt-5.jsonl", toy.rows(1, ["gpt-5"]))
    (raw / "round").symlink_to(raw)
    (raw / "again.jsonl").symlink_to(path)
    (raw / ".hidden.jsonl").write_text("{")
    (raw / "README.md").write_text("x")
    assert [s.path.resolve() for s in find([raw, path])] == [path]
    with pytest.raises(MissingFileError):
        find([tmp_path / "none"])
    with pytest.raises(UsageError):
        find([raw / "README.md"])
    with pytest.raises(UsageError):
        find([])
    with pytest.raises(UsageError, match="hf://datasets/"):
        find(["hf://nonsense"])
    (raw / "dangling.jsonl").symlink_to(tmp_path / "gone")
    assert len(find([raw])) == 1


def test_real_and_synthetic_rows_do_not_mix(tmp_path: Path) -> None:
    rows = toy.rows(1, ["gpt-5"]) + toy.rows(1, ["grok-4"], synthetic=False)
    with pytest.raises(DataError, match="synthetic"):
        read(toy.write_jsonl(tmp_path / "x.jsonl", rows))


def test_the_explanation_names_keys_and_no_values(tmp_path: Path) -> None:
    rows = [{**r, "extra": "secret words"} for r in toy.rows(2, ["gpt-5"])]
    [line] = read(toy.write_jsonl(tmp_path / "x.jsonl", rows)).explanation
    assert "trajectory <- response" in line
    assert "ignored: extra" in line
    assert "secret" not in line


def test_the_radiologists_report_is_never_taken_for_a_trajectory() -> None:
    assert not recognise(("report", "dicom_id", "diagnose"), Mapped()).complete


def test_fold() -> None:
    assert [fold(k) for k in ("imagePath", "Image Path", "image-path")] == ["image_path"] * 3


# From here on through `build`: what is decided over all rows together.


def built(tmp_path: Path, rows: list[dict[str, Any]], name: str = "r", **options: Any) -> data.building.Built:
    path = toy.write_jsonl(tmp_path / f"{name}.jsonl", rows)
    return data.build([path], tmp_path / name, findings=False, max_rejected=options.pop("max_rejected", 1.0), **options)


def test_order_names_and_number_of_files_do_not_change_the_content(tmp_path: Path) -> None:
    rows = toy.rows(8)
    rows.append({**rows[3], "response": "A second text."})
    hashes = set()
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        folder = tmp_path / f"raw{seed}"
        for i in range(seed + 1):
            write(
                folder / f"part{seed}{i}.json" if folder.mkdir(exist_ok=True) is None else folder,
                shuffled[i :: seed + 1],
                "json",
            )
        out = data.build([folder], tmp_path / f"out{seed}", findings=False, max_rejected=1.0)
        hashes.add(out.release.manifest["release_hash"])
        assert out.rejected == {"duplicate": 1}
    assert len(hashes) == 1


def test_repeated_generations_are_numbered_by_text(tmp_path: Path) -> None:
    base = toy.rows(1, ["gpt-5"])[0]
    texts_ = ["one text", "two text", "three text"]
    mapped = [{**base, "response": t, "generation": g} for g, t in enumerate(texts_)]
    again = [{**r, "generation": 7 - r["generation"]} for r in reversed(mapped)]
    frames = [
        built(tmp_path, rows, name, **options).release.scan("trajectories").collect()
        for name, rows, options in (
            ("a", mapped, {}),
            ("b", again, {}),
            ("c", [{**base, "response": t} for t in texts_], {"repeated": True}),
        )
    ]
    for frame in frames:
        assert frame["generation"].to_list() == [0, 1, 2]
        assert frame["text_sha256"].is_sorted()
        assert frame.equals(frames[0])
    # The same text twice is a duplicate with --repeated, and a generation of its own where the rows say so.
    assert built(tmp_path, [base, base], "d", repeated=True).rejected == {"duplicate": 1}
    assert built(tmp_path, [{**base, "generation": g} for g in (0, 1)], "e").rejected == {}
    assert built(tmp_path, [base, {**base, "response": "x"}], "f").rejected == {"duplicate": 1}


def test_contradictions_are_rejected_and_the_majority_stays(tmp_path: Path) -> None:
    rows = toy.rows(2, ["gpt-5", "grok-4", "moonshot"])
    other = dict(rows[0], image=rows[0]["image"].replace("s50000000", "s59999999"))
    done = built(tmp_path, [other, *rows[1:]])
    assert done.rejected == {"contradicts_instance": 1}
    moved = [dict(r, split="test") if i < 2 else r for i, r in enumerate(rows)]
    done = built(tmp_path, moved, "moved")
    assert done.rejected == {"contradicts_patient": 2}
    assert done.release.scan("instances").collect()["split"].unique().to_list() == ["train"]
    assert done.release.verify().ok


def test_rows_without_split_or_study_say_what_to_do(tmp_path: Path) -> None:
    rows = toy.rows(2, ["gpt-5"])
    del rows[0]["split"]
    rows[1]["image"] = f"{toy.dicom_id(1)}.jpg"
    path = toy.write_jsonl(tmp_path / "x.jsonl", rows)
    with pytest.raises(CheckFailedError, match="--mimic-root") as e:
        data.build([path], tmp_path / "out")
    assert "2 of 2 rows" in str(e.value)
    assert not (tmp_path / "out").exists()


def test_max_rejected(tmp_path: Path) -> None:
    rows = [*toy.rows(10), bad(response="")]
    with pytest.raises(CheckFailedError, match=r"1\.41%"):
        built(tmp_path, rows, "a", max_rejected=0.01)
    done = built(tmp_path, rows, "b", max_rejected=0.02)
    assert done.rejected == {"no_text": 1}
    [line] = (done.release.path / "restricted" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line) == {"reason": "no_text", "source_file": "b.jsonl", "source_line": 71}
    for wrong in (-0.1, 1.1):
        with pytest.raises(UsageError):
            built(tmp_path, rows, "c", max_rejected=wrong)


def test_study_level_rows(tmp_path: Path) -> None:
    row = toy.rows(1, ["gpt-5"])[0]
    rows = [
        dict(row, image=[toy.image(0), toy.image(1)]),
        dict(row, image=..., study_id="s50000007", subject_id="p10000007"),
        dict(row, image="files/p10/p10000009/s50000009.txt"),
    ]
    frame = (
        built(tmp_path, [{k: v for k, v in r.items() if v is not ...} for r in rows])
        .release.scan("instances")
        .collect()
    )
    assert frame["instance_id"].to_list() == ["s50000000", "s50000007", "s50000009"]
    assert frame["unit"].unique().to_list() == ["study"]
    assert frame["dicom_ids"].list.len().to_list() == [2, 0, 0]


def test_diseases_come_from_the_prompt(tmp_path: Path) -> None:
    row = toy.rows(1, ["gpt-5"])[0]
    rows = [
        {**row, "prompt": prompts.render(["Edema", "Pneumonia", "Fracture"]), "diseases": ["Nonsense"]},
        {**row, "image": toy.image(1), "prompt": None, "diseases": ["Edema"]},
        {**row, "image": toy.image(2), "prompt": "Describe the image."},
    ]
    done = built(tmp_path, rows)
    frame = done.release.scan("trajectories").collect()
    by_id = {r["instance_id"]: r for r in frame.to_dicts()}
    assert by_id[toy.dicom_id(0)]["diseases"] == ["Edema", "Pneumonia", "Fracture"]
    assert by_id[toy.dicom_id(1)]["prompt"] == prompts.render(["Edema"])
    assert by_id[toy.dicom_id(2)]["diseases"] == []
    assert any("name no diagnoses" in n for n in done.notes)


def pair(row: dict[str, Any], chosen: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"<image>{row['prompt']}"}, {"role": "assistant", "content": chosen}],
        "images": [row["image"]],
        "rejected_response": row["response"],
        "split": row["split"],
        "synthetic": True,
        "seed": 7,
        **more,
    }


def test_preference_pairs_become_groups(tmp_path: Path) -> None:
    rows = toy.rows(2, ["gpt-5", "grok-4", "moonshot"])
    toy.write_jsonl(tmp_path / "raw" / "a.jsonl", rows)
    pairs = [pair(r, f"Consensus of {r['image']}.") for r in rows]
    pairs += [pairs[0], {**pairs[1], "rejected_response": "Nobody said this."}, pair(rows[2], "Something else.")]
    toy.write_jsonl(tmp_path / "raw" / "pairs.jsonl", pairs)
    done = data.build([tmp_path / "raw"], tmp_path / "r", findings=False, max_rejected=1.0)
    assert done.rejected == {"unmatched_rejected": 1, "contradicts_instance": 1}
    assert done.release.verify().ok
    groups = done.release.scan("preferences").collect().to_dicts()
    assert len(groups) == 2
    for group in groups:
        assert group["strategy"] == "imported"
        assert group["chosen"].startswith("Consensus of files/")
        assert group["prompt"].startswith("This is a patient's chest DR image.")
        assert [r["teacher"] for r in group["rejected"]] == ["gpt-5", "grok-4", "moonshot"]
    assert done.release.scan("consensus").collect().height == 2
    assert done.release.manifest["tables"]["trajectories"]["rows"] == 6


def test_pairs_alone_tell_of_the_trajectories_of_named_teachers(tmp_path: Path) -> None:
    rows = toy.rows(2, ["gpt-5", "grok-4"])
    pairs = [pair(r, "Chosen.", teacher=r["teacher"], strategy="vote") for r in rows]
    toy.write_jsonl(
        tmp_path / "pairs.jsonl", [*pairs, pair(rows[0], "Chosen.", strategy="vote") | {"rejected_response": "x"}]
    )
    done = data.build([tmp_path / "pairs.jsonl"], tmp_path / "r", findings=False, max_rejected=1.0)
    assert done.rejected == {"unmatched_rejected": 1}
    assert sorted(done.release.scan("trajectories").collect()["trajectory"]) == sorted(r["response"] for r in rows)
    [one, two] = done.release.scan("preferences").collect()["rejected"].to_list()
    assert [r["teacher"] for r in one + two] == ["gpt-5", "grok-4"] * 2


def test_an_exported_release_with_preferences_comes_back(tmp_path: Path) -> None:
    rows = toy.rows(3, ["gpt-5", "grok-4"])
    toy.write_jsonl(tmp_path / "raw.jsonl", [pair(r, f"C {r['image']}", teacher=r["teacher"]) for r in rows])
    first = data.build([tmp_path / "raw.jsonl"], tmp_path / "a", findings=False).release
    export(first, ExportConfig("ms-swift", tmp_path / "out.jsonl"))
    again = [json.loads(line) | {"synthetic": True, "seed": 7} for line in (tmp_path / "out.jsonl").open()]
    second = data.build([toy.write_jsonl(tmp_path / "again.jsonl", again)], tmp_path / "b", findings=False).release
    assert first.manifest["tables"]["preferences"] == second.manifest["tables"]["preferences"]
