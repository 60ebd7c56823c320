"""Texts and references by id: what is accepted, and what bad files say."""

import json
from pathlib import Path

import polars as pl
import pytest

from cxr_max import drift
from cxr_max.errors import DataError, MissingFileError, UnknownNameError

GOOD = [
    {"id": "a", "teacher": "GPT-5-nano", "text": "There is a left pleural effusion.", "diseases": "Pleural Effusion"},
    {"id": "b", "teacher": "gpt-5", "text": "", "diseases": "Edema; Pneumonia"},
    {"id": "a", "teacher": "mine", "text": "No effusion.\n" * 3, "diseases": "Pleural Effusion"},
]


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_texts_become_tables(tmp_path: Path) -> None:
    references = lines(tmp_path / "r.jsonl", [{"id": "a", "report": "Left effusion."}, {"id": "c", "report": "x"}])
    tables = drift.from_texts(lines(tmp_path / "t.jsonl", GOOD), references)
    assert not tables.manifest["synthetic"]
    assert set(tables.scan("trajectories").collect()["teacher"]) == {"gpt-5", "mine"}
    instances = tables.scan("instances").collect().sort("instance_id")
    assert instances["diseases"].to_list() == [["Pleural Effusion"], ["Edema", "Pneumonia"]]
    assert instances["subject_id"].n_unique() == 2
    assert tables.scan("references").collect()["findings"].to_list() == ["Left effusion."]
    with pytest.raises(UnknownNameError):
        tables.scan("steps")
    report = drift.report(tables, draws=5, permutations=5, shuffles=2)
    assert report.about["n_trajectories"] == 3
    assert "Left effusion" not in json.dumps(report.plain())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_other_formats_are_the_same(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(GOOD)
    path = tmp_path / f"t.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    a = drift.from_texts(path).scan("trajectories").collect().select("instance_id", "teacher", "n_words")
    b = drift.from_texts(lines(tmp_path / "t.jsonl", GOOD)).scan("trajectories").collect().select(a.columns)
    assert a["n_words"].to_list() == b["n_words"].to_list()
    assert a["teacher"].to_list() == b["teacher"].to_list()


def test_prompts_name_the_diseases(tmp_path: Path) -> None:
    prompt = "The patient has been diagnosed with Edema and Pneumonia. Can you find the basis?"
    tables = drift.from_texts(lines(tmp_path / "t.jsonl", [{"id": 7, "prompt": prompt, "response": "Edema."}]))
    assert tables.scan("instances").collect()["diseases"].to_list() == [["Edema", "Pneumonia"]]
    assert tables.scan("instances").collect()["instance_id"].to_list() == ["7"]


SECRET = "Zebra fracture of the left ninth rib"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("t.jsonl", f'{{"id": "a", "text": "{SECRET}"', DataError),
        ("t.jsonl", "", DataError),
        ("t.jsonl", json.dumps({"id": "a", "words": SECRET}), DataError),
        ("t.jsonl", json.dumps({"text": SECRET}), DataError),
        ("t.jsonl", "\n".join([json.dumps({"id": "a", "text": SECRET})] * 2), DataError),
        ("t.txt", SECRET, DataError),
        ("t.parquet", SECRET, DataError),
        ("t.csv", "id,text\n\udcff\udcfe", DataError),
    ],
)
def test_bad_files_say_what_is_wrong_and_quote_no_text(
    name: str, content: str, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(error) as raised:
        drift.report(drift.from_texts(path), draws=1)
    assert "Zebra" not in str(raised.value)


def test_missing_files_and_double_references(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        drift.from_texts(tmp_path / "nothing.jsonl")
    good = lines(tmp_path / "t.jsonl", GOOD)
    twice = lines(tmp_path / "r.jsonl", [{"id": "a", "text": SECRET}] * 2)
    with pytest.raises(DataError, match="more than once") as raised:
        drift.from_texts(good, twice)
    assert "Zebra" not in str(raised.value)


HOSTILE = ["\x00", "\u202e" * 50, "**" * 2000, "# " * 500, "no " * 3000, "a" * 50_000, "}{[]\\n\\", "🫁" * 300]


def test_hostile_texts_do_not_stop_a_report(tmp_path: Path) -> None:
    rows = [{"id": str(i), "teacher": t, "text": x, "diseases": "Edema"} for i, x in enumerate(HOSTILE) for t in "ab"]
    references = [{"id": str(i), "findings": x, "impression": None} for i, x in enumerate(HOSTILE)]
    tables = drift.from_texts(lines(tmp_path / "t.jsonl", rows), lines(tmp_path / "r.jsonl", references))
    report = drift.report(tables, draws=5, permutations=5, shuffles=2)
    assert report.about["n_trajectories"] == 2 * len(HOSTILE)
