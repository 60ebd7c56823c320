"""Signatures: everything in them, beside every number; one denominator in a column, in tables and at the gate."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxr_max import evaluation
from cxr_max.errors import CheckFailedError
from cxr_max.evaluation import comparison_page, gating, signatures
from cxr_max.evaluation.comparing import CompareConfig, compare
from cxr_max.evaluation.types import Context, Failure, Output, Sample
from tests.evaluation import worlds

TASK = "zero_shot_chestx_det10"


class Model:
    """Says no; nothing to every fifth image, fails on every seventh."""

    name, revision, settings = "model", "1", {}

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        for sample in samples:
            image = int(sample.id.partition(".")[0])
            yield Failure("told to") if image % 7 == 3 else Output(" \n" if image % 5 == 1 else "No.")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole` over 24 images, `part` over 20 of them under the same settings."""
    folder = tmp_path_factory.mktemp("signatures")
    for name in ("whole", "part"):
        root = worlds.det10(folder / f"{name} det10")
        if name == "part":
            table = folder / f"{name} det10" / "test.json"
            table.write_text(json.dumps(json.loads(table.read_text())[:20]))
        evaluation.run(evaluation.EvalConfig((TASK,), folder / name, Context((root,))), Model)
        evaluation.grade(folder / name, draws=20, seed=4)
    return folder


def rows_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "scores.json").read_text())["scores"]
    return found


def test_a_signature_says_everything_beside_every_number(runs: Path) -> None:
    for row in rows_of(runs / "whole"):
        parts = row["signature"].split("|")
        assert parts[1:7] == [f"{TASK} v2", "auc v1", "profile parse", "section none", "tokens none", "read parse"]
        assert parts[7].startswith("prompt ")
        assert parts[8:] == [
            "images", "samples all", "cluster bootstrap 20, seed 4",
            f"n {row['n']}", f"failed {row['failed']}", f"empty {row['empty']}",
        ]  # fmt: skip
    mass = next(r for r in rows_of(runs / "whole") if r["group"] == "Mass")
    failed = [i for i in range(24) if i % 7 == 3]
    empty = [i for i in range(24) if i % 5 == 1 and i not in failed]
    assert (mass["n"], mass["failed"], mass["empty"]) == (24, len(failed), len(empty))
    with (runs / "whole" / "table.csv").open() as file:
        assert {r["signature"] for r in csv.DictReader(file)} == {r["signature"] for r in rows_of(runs / "whole")}


def test_a_table_prints_the_counts_of_its_rows_or_once_under_all() -> None:
    from cxr_max.evaluation import score_files

    row = {"task": "t", "score": "s", "group": "g", "subset": "all", "value": 0.5, "low": 0.4, "high": 0.6, "n": 20,
           "patients": 20, "failed": 1, "empty": 2}  # fmt: skip
    one = {**row, "signature": signatures.counted("how", row)}
    assert "`how|n 20|failed 1|empty 2`" in score_files.table([one, one], title="x")
    other = {**row, "n": 21, "signature": signatures.counted("how", {**row, "n": 21})}
    text = score_files.table([one, other], title="x")
    assert f"`how|{signatures.OF_ROW}`" in text
    assert "| 20 | 20 | 1 | 2 |" in text
    assert "| 21 | 20 | 1 | 2 |" in text


def test_counts_are_in_no_key_and_a_count_that_is_not_known_says_so() -> None:
    how = "cxr-max 9|t v1|auc v1|profile none|samples all|cluster bootstrap 5, seed 0|synthetic"
    whole = signatures.counted(how, {"n": 5, "failed": 0})
    assert whole.endswith("|n 5|failed 0|empty not counted")
    assert signatures.comparable(whole) == signatures.comparable(how) == how
    assert signatures.lasting(whole) == "t v1|auc v1|profile none|samples all|synthetic"


def test_runs_over_different_numbers_of_samples_never_stand_in_one_column(runs: Path) -> None:
    found = compare(CompareConfig((runs / "whole", runs / "part"), draws=20, seed=4))
    assert all(len(b["rows"]) == 1 for b in found.blocks)
    assert found.warnings == (
        f"{TASK}, all: different numbers of samples, so not in one column: whole (n 240); part (n 200)",
    )
    assert not found.differences
    assert found.unpaired[0]["run"] == "part"
    text = comparison_page.markdown(found)
    assert f"WARNING: {found.warnings[0]}" in text
    assert "], n 240" in text
    assert "], n 200" in text


def test_stored_scores_over_other_samples_are_parted_too(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text((runs / "part" / "scores.json").read_text())
    found = compare(CompareConfig((runs / "whole", tmp_path), draws=20, seed=4))
    assert all(len(b["rows"]) == 1 for b in found.blocks)
    assert found.warnings
    (tmp_path / "scores.json").write_text((runs / "whole" / "scores.json").read_text())
    same = compare(CompareConfig((runs / "whole", tmp_path), draws=20, seed=4))
    assert all(len(b["rows"]) == 2 for b in same.blocks)
    assert not same.warnings


def test_headline_scores_of_all_runs_stand_at_the_top(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text((runs / "whole" / "scores.json").read_text())
    found = compare(CompareConfig((runs / "whole", tmp_path), draws=20, seed=4))
    assert found.headlines == ((TASK, "auc", "mean"),)
    line = next(x for x in comparison_page.markdown(found).splitlines() if x.startswith(f"| {TASK} | auc | mean |"))
    assert line.count("n 240") == 2
    assert line.endswith("| all |")


def test_the_gate_refuses_scores_over_other_samples(runs: Path) -> None:
    (run,) = compare(CompareConfig((runs / "part",), draws=20, seed=4)).loaded
    rows = gating.check(run, runs / "whole")
    assert {r["outcome"] for r in rows} == {gating.OTHER}
    with pytest.raises(CheckFailedError, match="is over 20 samples, stored 24"):
        gating.enforce(rows)


def test_a_comparison_shows_what_the_runs_own_files_show(runs: Path, tmp_path: Path) -> None:
    evaluation.run(evaluation.EvalConfig((TASK,), tmp_path / "run", Context((worlds.det10(tmp_path / "d"),))), Model)
    evaluation.grade(tmp_path / "run", draws=20, read="report")
    (run,) = compare(CompareConfig((tmp_path / "run",), draws=20)).loaded
    assert [r["signature"] for r in run.rows] == [r["signature"] for r in rows_of(tmp_path / "run")]
    assert "|read report|" in run.rows[0]["signature"]


class Baseline(Model):
    """Was never trained, so that its unseen patients are all."""

    training: Sequence[str] = ()

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        yield from (Output(self.answer) for _ in samples)


def test_a_difference_over_the_same_samples_is_one_hypothesis(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path / "world")
    (tmp_path / "world" / "SYNTHETIC").touch()
    for answer in ("stable", "worsening"):
        config = evaluation.EvalConfig(("ms_cxr_t_progression",), tmp_path / answer, Context(roots))
        evaluation.run(config, lambda answer=answer: Baseline(answer))  # type: ignore[misc]
        evaluation.grade(config.out, draws=20)
    found = compare(CompareConfig((tmp_path / "stable", tmp_path / "worsening"), draws=20))
    assert {b["subset"] for b in found.blocks} == {"all", "unseen patients"}
    assert {d["subset"] for d in found.differences} == {"all"}
    assert found.families["headline"]["size"] == 1
    text = comparison_page.markdown(found)
    assert sum("| all = unseen patients |" in line for line in text.splitlines()) == 1
    assert comparison_page.forest(found) is not None
