"""The synthetic benchmark's kept results: the figures come from them, and nothing real is ever kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, synthetic_bench
from cxr_max.errors import DataError
from cxr_max.evaluation.bench import results
from cxr_max.recipes.synthetic_bench import DESIGN

FOLDERS = sorted(f.name for f in synthetic_bench.KEPT.iterdir() if f.is_dir())


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    return {name: synthetic_bench.table_of(synthetic_bench.KEPT / name, 20) for name in FOLDERS}


def _values(numbers: dict[str, Any]) -> dict[str, Any]:
    ends = (DESIGN.primary.title, DESIGN.second.title)
    rows = {r: {e: v[e]["value"] for e in ends if e in v} for r, v in numbers["rows"].items()}
    return rows | {d: {e: v["value"] for e, v in by.items()} for d, by in numbers["differences"].items()}


def test_the_kept_results_give_the_kept_figures(tables: dict[str, Any]) -> None:
    kept = page.results()["synthetic_bench"]["figures"]
    found = synthetic_bench.figures(tables)
    assert sorted(found) == sorted(kept) == FOLDERS
    for name in FOLDERS:
        assert _values(found[name]) == _values(kept[name])
        assert {r: v["seeds"] for r, v in found[name]["rows"].items()} == {
            r: v["seeds"] for r, v in kept[name]["rows"].items()
        }


def test_what_is_kept_is_called_synthetic_everywhere(tables: dict[str, Any]) -> None:
    for name, table in tables.items():
        folder = synthetic_bench.KEPT / name
        assert "synthetic" in table["title"]
        assert "synthetic" in (folder / "table.md").read_text(encoding="utf-8").splitlines()[0]
        assert all(p.name.startswith("synthetic-") for p in (folder / "results").glob("*.json"))


def test_one_table_says_the_difficulty_of_the_recipe(tables: dict[str, Any]) -> None:
    fixed = {k: v for k, v in synthetic_bench.synthetic_bench.difficulty().items() if k in ("contrast", "noise")}
    for table in tables.values():
        assert fixed.items() <= table["about"]["difficulty"].items()


def test_results_of_other_than_synthetic_data_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = sorted((synthetic_bench.KEPT / FOLDERS[0] / "results").glob("*seed0.json"))[0]
    result, out = results.read(kept), tmp_path / "out" / "results"
    monkeypatch.setattr(synthetic_bench, "KEPT", tmp_path / "kept")
    out.mkdir(parents=True)
    results.write(replace(result, about={**result.about, "synthetic": False}), out / kept.name)
    with pytest.raises(DataError, match="not of synthetic data"):
        synthetic_bench.collect(tmp_path / "out", "0.5")
    assert not (tmp_path / "kept").exists()
    results.write(result, out / kept.name)
    assert synthetic_bench.collect(tmp_path / "out", "0.5") == 1


def test_two_benchmarks_are_no_table(tmp_path: Path) -> None:
    kept, here = synthetic_bench.KEPT / FOLDERS[0] / "results", tmp_path / "results"
    here.mkdir()
    for seed in (0, 1):
        for row in ("sft", "dpo_pairs"):
            result = results.read(kept / f"synthetic-{row}-seed{seed}.json")
            results.write(replace(result, signature=f"{result.signature} {seed}"), here / f"{row}{seed}.json")
    with pytest.raises(DataError, match="2 benchmarks"):
        synthetic_bench.table_of(tmp_path, 20)


def test_the_curve_is_drawn(tables: dict[str, Any]) -> None:
    numbers = synthetic_bench.figures(tables)
    titles = [DESIGN.primary.title, DESIGN.second.title]
    figure = synthetic_bench.curve(numbers, titles, DESIGN.baseline)
    assert synthetic_bench.render(figure, "png").startswith(b"\x89PNG")


def test_separation_is_read_from_the_logs_of_all_seeds(tmp_path: Path) -> None:
    def log(row: str, seed: int, right: list[float]) -> None:
        folder = tmp_path / f"{row}-seed{seed}" / "stage"
        folder.mkdir(parents=True)
        lines = [{"step": i + 1, "rewards/accuracies": r, "length/chosen": 10, "length/rejected": 20 + seed}
                 for i, r in enumerate(right)]  # fmt: skip
        (folder / "log.jsonl").write_text("\n".join(json.dumps(x) for x in [*lines, {"step": 99, "loss": 1.0}]))

    log("apo", 0, [0.0] + [1.0] * 40)
    log("apo", 1, [0.0] * 5 + [1.0] * 40)
    log("dpo_pairs", 0, [0.5] * 40)
    folder = tmp_path / "sft-seed0" / "stage"
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + "\n")
    found = synthetic_bench.separation(tmp_path)
    assert found["apo"] == {
        "seeds": 2,
        "step": 6,
        "length_chosen": 10,
        "length_rejected": pytest.approx(20.52, abs=0.01),
    }
    assert found["dpo_pairs"]["step"] is None
    assert set(found) == {"apo", "dpo_pairs"}
