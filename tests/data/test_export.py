"""Exports in every format, their way back, and TRL's own trainer on one."""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from PIL import Image

from benchmarks import peer_env
from cxr_max import data
from cxr_max.data.export import FORMATS, ExportConfig, export
from cxr_max.errors import DataError, RestrictedDataError, UnknownNameError, UsageError
from tests.align import tokenizers_for_tests as toks
from tests.data import toy
from tests.data.test_derive import preferences


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> data.Release:
    return toy.release(tmp_path_factory.mktemp("plain"), n=10, findings=False, version="1.0.0")


@pytest.fixture(scope="module")
def rich(plain: data.Release, tmp_path_factory: pytest.TempPathFactory) -> data.Release:
    out = tmp_path_factory.mktemp("rich") / "r"
    return data.extend(plain, out, "1.1.0", {"preferences": preferences(plain)})


SUFFIX = {"ms-swift": "jsonl", "trl": "parquet", "llama-factory": "jsonl", "csv": "csv"}


def write(release: data.Release, name: str, folder: Path, **options: Any) -> tuple[Path, Any]:
    out = folder / f"{name}.{SUFFIX[name]}"
    return out, export(release, ExportConfig(name, out, **options))


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        return pl.read_parquet(path).to_dicts()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", FORMATS)
def test_groups_become_pairs_and_it_says_so(name: str, rich: data.Release, tmp_path: Path) -> None:
    out, done = write(rich, name, tmp_path)
    assert (done.rows, done.groups) == (70, 10)
    assert "10 groups" in done.notes[0]
    assert "70 pairs" in done.notes[0]
    assert len(rows(out)) == 70
    assert oct(out.stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("name", FORMATS)
def test_supervised_rows_and_one_split(name: str, rich: data.Release, plain: data.Release, tmp_path: Path) -> None:
    out, done = write(rich, name, tmp_path, what="sft", split="val")
    assert (
        done.rows == len(rows(out)) == rich.scan("trajectories").filter(pl.col("split") == "validate").collect().height
    )
    other, _ = write(plain, name, tmp_path / "plain", split="validation")
    assert rows(other) == rows(out)


def test_ms_swift_rows(rich: data.Release, tmp_path: Path) -> None:
    row = rows(write(rich, "ms-swift", tmp_path)[0])[0]
    user, assistant = row["messages"]
    assert user["role"] == "user"
    assert user["content"].startswith("<image>This is a patient's chest DR image.")
    assert user["content"].count("<image>") == len(row["images"]) == 1
    assert assistant == {"role": "assistant", "content": "The consensus."}
    assert row["rejected_response"] != assistant["content"]
    assert row["images"][0] in {toy.image(i) for i in range(10)}


def test_ms_swift_comes_back(plain: data.Release, tmp_path: Path) -> None:
    out, _ = write(plain, "ms-swift", tmp_path)
    marked = [{**r, "synthetic": True, "seed": 7} for r in rows(out)]
    again = toy.release(tmp_path, "again", records=marked, findings=False)
    names = ["instance_id", "teacher", "generation", "split", "prompt", "trajectory"]
    frames = [r.scan("trajectories").select(names).collect().sort(names) for r in (plain, again)]
    assert frames[0].equals(frames[1])


def test_llama_factory_rows(rich: data.Release, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    row = rows(write(rich, "llama-factory", tmp_path)[0])[0]
    assert [t["from"] for t in row["conversations"]] == ["human"]
    assert row["chosen"] == {"from": "gpt", "value": "The consensus."}
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(info) == {"mine", "llama-factory"}
    assert info["llama-factory"]["ranking"] is True
    assert set(info["llama-factory"]["columns"]) == {"messages", "images", "chosen", "rejected"}


def test_csv_survives_hostile_text(tmp_path: Path) -> None:
    text = 'He said, "no;\n\r\neffusion"\t=1+1 \u2028 é'
    records = [{**toy.rows(1)[0], "response": text}]
    release = toy.release(tmp_path, "r", records=records, findings=False)
    out, _ = write(release, "csv", tmp_path)
    assert rows(out)[0]["trajectory"] == text


def test_trl_loads_with_images(rich: data.Release, tmp_path: Path) -> None:
    _images(rich, tmp_path)
    out, done = write(rich, "trl", tmp_path, image_root=tmp_path)
    assert len(done.notes) == 1
    loaded = datasets.load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    row = loaded[0]
    assert row["images"][0].size == (64, 48)
    assert [p["type"] for p in row["prompt"][0]["content"]] == ["image", "text"]
    assert row["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "The consensus."}]}]
    assert row["rejected"][0]["content"][0]["text"].endswith(".")


def _images(release: data.Release, folder: Path) -> None:
    for i in range(release.manifest["tables"]["instances"]["rows"]):
        path = folder / toy.image(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 48), 60).save(path)


@pytest.mark.slow
def test_trl_trains_on_it_unchanged(rich: data.Release, tmp_path: Path) -> None:
    python = peer_env.python_of("trl")
    if python is None:
        pytest.skip(f"needs TRL; make its environment with: {peer_env.command('trl')}")
    _images(rich, tmp_path)
    toks.small(tmp_path / "tokenizer")
    out, _ = write(rich, "trl", tmp_path, image_root=tmp_path, split="validate")
    done = subprocess.run(
        [str(python), "-m", "tests.data.peer_dpo", str(tmp_path / "tokenizer"), str(out), str(tmp_path / "trained")],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HF_HOME": str(tmp_path / "hf")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == 14
    assert found["image"] == [64, 48]
    assert len(found["losses"]) == 2
    # The policy starts as the reference: log 2, then it learns.
    assert found["losses"][0] == pytest.approx(0.6931, abs=1e-3)
    assert found["losses"][1] != found["losses"][0]


def test_wrong_use(plain: data.Release, rich: data.Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError):
        export(plain, ExportConfig("word", tmp_path / "x.doc"))
    with pytest.raises(UsageError, match="parquet"):
        export(plain, ExportConfig("trl", tmp_path / "x.jsonl"))
    with pytest.raises(UsageError, match="no preferences"):
        write(plain, "csv", tmp_path, what="preferences")
    with pytest.raises(DataError, match="nothing"):
        write(rich, "csv", tmp_path, strategy="none")
    assert list(tmp_path.iterdir()) == []
    write(plain, "csv", tmp_path)
    with pytest.raises(UsageError, match="exists"):
        write(plain, "csv", tmp_path)
    write(plain, "csv", tmp_path, overwrite=True)
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    with pytest.raises(RestrictedDataError):
        write(plain, "csv", tmp_path, overwrite=True)


def test_several_strategies_have_to_be_told_apart(plain: data.Release, tmp_path: Path) -> None:
    one = preferences(plain)
    both = pl.concat([one, one.with_columns(strategy=pl.lit("in_context"))])
    release = data.extend(plain, tmp_path / "r", "1.1.0", {"preferences": both})
    with pytest.raises(UsageError, match="in_context, vote"):
        write(release, "csv", tmp_path)
    assert write(release, "csv", tmp_path, strategy="vote")[1].rows == 70
