"""One evaluation end to end: baselines, resume after kills, grading without the model, refusals, restricted outputs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_max import evaluation
from cxr_max.errors import (
    CxrMaxWarning,
    DataError,
    MissingFileError,
    RestrictedDataError,
    UnknownNameError,
    UsageError,
)
from cxr_max.evaluation import predictors, score_files, signatures
from cxr_max.evaluation.types import Context, Failure, Output, Sample
from tests.evaluation import worlds

TASK = "zero_shot_chestx_det10"


def _config(tmp_path: Path, *tasks: str, **more: Any) -> Any:
    tmp_path.mkdir(parents=True, exist_ok=True)
    if not (tmp_path / "det10").exists():
        worlds.det10(tmp_path / "det10")
    roots = (worlds.Root("chestx-det10", tmp_path / "det10", "option"),)
    return evaluation.EvalConfig(tasks or (TASK,), tmp_path / "run", Context(roots, **more))


def _journal(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "run" / "restricted" / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


class Counting:
    """Answers yes; can be told to fail."""

    name, revision = "counting", "1"

    def __init__(self, fail: bool = False, **settings: Any) -> None:
        self.asked: list[str] = []
        self.settings, self.fail = settings, fail

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        for sample in samples:
            self.asked.append(sample.id)
            yield Failure("told to") if self.fail else Output("yes")


def test_the_same_command_again_asks_only_what_is_missing(tmp_path: Path) -> None:
    config = _config(tmp_path)
    first, second = Counting(), Counting()
    evaluation.run(config, lambda: first)
    evaluation.run(config, lambda: second)
    assert (len(first.asked), second.asked) == (240, [])


def test_changed_settings_are_other_questions(tmp_path: Path) -> None:
    config = _config(tmp_path)
    evaluation.run(config, Counting)
    other = Counting(temperature=1)
    evaluation.run(config, lambda: other)
    assert len(other.asked) == 240


def test_failures_are_recorded_asked_again_and_counted(tmp_path: Path) -> None:
    config = _config(tmp_path)
    evaluation.run(config, lambda: Counting(fail=True))
    rows = evaluation.grade(config.out, draws=10)
    assert all(r["failed"] == r["n"] for r in rows)
    assert all(r["value"] == 0 for r in rows), "an abstention is wrong"
    assert all(r["abstained"] == r["n"] for r in rows if r["group"] != "mean")
    again = Counting()
    evaluation.run(config, lambda: again)
    assert len(again.asked) == 240
    assert all(r["failed"] == 0 for r in evaluation.grade(config.out, draws=10))


def test_grading_is_repeatable_and_carries_signature_and_interval(tmp_path: Path) -> None:
    config = _config(tmp_path)
    evaluation.run(config, lambda: predictors.make("random", {"seed": "3"}))
    rows = evaluation.grade(config.out, draws=200)
    assert evaluation.grade(config.out, draws=200) == rows
    mean = next(r for r in rows if r["group"] == "mean")
    assert mean["low"] < mean["value"] < mean["high"]
    assert 0.3 < mean["value"] < 0.7
    assert "zero_shot_chestx_det10 v2" in mean["signature"]
    assert "auc v1|profile score|" in mean["signature"]
    table = (config.out / "table.md").read_text()
    assert signatures.comparable(mean["signature"]) in table
    assert "Pneumothorax" in table
    assert json.loads((config.out / "scores.json").read_text())["model"]["name"] == "random"


def test_majority_reaches_the_majority_share_and_chance_balanced_accuracy(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path / "world")
    (tmp_path / "world" / "SYNTHETIC").touch()
    config = evaluation.EvalConfig(("ms_cxr_t_presence_blank0",), tmp_path / "run", Context(roots))
    evaluation.run(config, lambda: predictors.make("majority", {}))
    rows = evaluation.grade(config.out, draws=50)
    assert {r["subset"] for r in rows} == {"all", "unseen patients"}, "a baseline was never trained"
    assert {r["read"] for r in rows} == {"score"}, "so that models that score the options stand beside it"
    groups = {r["group"] for r in rows} - {"mean"}
    assert groups == {"Consolidation", "Edema", "Pleural Effusion", "Pneumonia", "Pneumothorax"}
    for row in rows:
        if row["score"] == "accuracy" and row["group"] != "mean":
            assert row["value"] == pytest.approx(row["majority"])
        if row["score"] == "macro_accuracy":
            assert row["value"] == pytest.approx(0.5)


def test_patients_seen_in_training_are_left_out_of_the_second_block(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path / "world")
    (tmp_path / "world" / "SYNTHETIC").touch()
    config = evaluation.EvalConfig(("ms_cxr_t_progression",), tmp_path / "run", Context(roots))
    evaluation.run(config, Counting)
    rows = evaluation.grade(config.out, draws=10, training_patients={"10000001"})
    assert {r["subset"] for r in rows} == {"all", "unseen patients"}
    n = {r["subset"]: r["n"] for r in rows if r["group"] == "mean" and r["score"] == "accuracy"}
    assert n["unseen patients"] < n["all"]


def test_small_cells_are_suppressed_on_data_that_are_not_synthetic(tmp_path: Path) -> None:
    roots = (worlds.chestxray14(tmp_path / "x"),)
    config = evaluation.EvalConfig(("zero_shot_chestxray14",), tmp_path / "run", Context(roots))
    evaluation.run(config, Counting)
    rows = evaluation.grade(config.out, draws=10)
    assert all("suppressed" in r and "value" not in r for r in rows)
    (tmp_path / "SYNTHETIC").touch()
    evaluation.run(config, Counting)
    assert all("value" in r for r in evaluation.grade(config.out, draws=10))


def test_outputs_are_private_and_refused_in_a_git_work_tree(tmp_path: Path) -> None:
    config = _config(tmp_path)
    evaluation.run(config, Counting)
    assert (config.out.stat().st_mode & 0o777, (config.out / ".gitignore").read_text()) == (0o700, "*\n")
    other = _config(tmp_path / "repo")
    (tmp_path / "repo" / ".git").mkdir()
    with pytest.raises(RestrictedDataError, match="git work tree"):
        evaluation.run(other, Counting)


def test_data_are_checked_before_the_model_is_made(tmp_path: Path) -> None:
    def never() -> Any:
        raise AssertionError("the model was loaded")

    with pytest.raises(MissingFileError):
        evaluation.run(_config(tmp_path, TASK, "zero_shot_chexpert"), never)
    with pytest.raises(UnknownNameError):
        evaluation.run(_config(tmp_path, "nope"), never)
    with pytest.raises(UsageError, match="no task"):
        evaluation.run(evaluation.EvalConfig((), tmp_path / "r", Context()), never)


def test_grading_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no evaluation run"):
        evaluation.grade(tmp_path)


KILLED = """
import sys, time
from pathlib import Path
from cxr_max import evaluation
from cxr_max.evaluation.types import Context, Output
from tests.evaluation import worlds

class Slow:
    name, revision, settings = "slow", "1", {}
    def predict(self, samples):
        for s in samples:
            time.sleep(0.003)
            yield Output("yes" if len(s.id) % 2 else "no")

root = worlds.Root("chestx-det10", Path(sys.argv[1]), "option")
evaluation.run(evaluation.EvalConfig(("zero_shot_chestx_det10",), Path(sys.argv[2]), Context((root,))), Slow)
"""


def _kill_and_finish(tmp_path: Path, kills: int, seed: int) -> None:
    import random

    rng = random.Random(seed)
    worlds.det10(tmp_path / "det10")
    out, whole = tmp_path / "run", tmp_path / "whole"
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "det10"), str(whole)], check=True)
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "det10"), str(out)])
        before = _lines(out)
        deadline = time.monotonic() + 60
        target = before + rng.randint(1, 30)
        while process.poll() is None and _lines(out) < target and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "det10"), str(out)], check=True)
    journals = [sorted((f / "restricted" / "samples.jsonl").read_text().splitlines()) for f in (out, whole)]
    assert journals[0] == journals[1]


def _lines(out: Path) -> int:
    path = out / "restricted" / "samples.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_three_times_it_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    _kill_and_finish(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_killed_fifty_times_it_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    for seed in range(10):
        _kill_and_finish(tmp_path / str(seed), kills=5, seed=seed)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("not json\n", DataError, "line 1"),
        ('{"id": "a"}\n', DataError, "line 1"),
        ('{"id": "0.png/Mass", "output": "a"}\n{"id": "0.png/Mass", "output": "b"}\n', DataError, "second time"),
        ('{"id": "0.png/Mass", "output": "a", "scores": [NaN, 1]}\n', DataError, "NaN"),
        ('{"id": "0.png/Mass", "output": "a", "scores": [0.5]}\n', DataError, "each of 2 options"),
        ('{"id": "0.png/Mass", "output": "a", "scores": 3}\n', DataError, "line 1"),
        ('{"id": "0.png/Mass", "output": "a", "scores": ["x", 1]}\n', DataError, "line 1"),
        ('{"id": "0.png/Mass", "output": "a", "scores": "12"}\n', DataError, "line 1"),
        ('{"id": "0.png/Mass", "output": null}\n', DataError, "line 1"),
        pytest.param('{"id": "0.png/Mass", "output": ' + "[" * 100_000, DataError, "line 1", id="deep"),
        ("[1]\n", DataError, "line 1"),
        ('{"id": "0.png/Mass", "output"', DataError, "line 1"),
        ('{"id": "other split", "output": "a"}\n', UsageError, "none of the 1 ids"),
    ],
)
def test_a_bad_file_of_predictions(content: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(error, match=said):
        evaluation.run(_config(tmp_path), lambda: predictors.make("file", {"path": str(tmp_path / "p.jsonl")}))


def test_a_file_that_lacks_samples_is_scored_with_the_same_denominator(tmp_path: Path) -> None:
    rows = [{"id": f"{i}.png/Mass", "output": "yes"} for i in range(10)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows.append({"id": "9999.png/Mass", "output": "of another split"})
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = _config(tmp_path)
    with pytest.warns(CxrMaxWarning, match="answers 10 of 240 questions, the others fail; 1 of its ids"):
        evaluation.run(config, lambda: predictors.make("file", {"path": str(tmp_path / "p.jsonl")}))
    mass = next(r for r in evaluation.grade(config.out, draws=10) if r["group"] == "Mass")
    assert (mass["n"], mass["failed"]) == (24, 14)
    with pytest.raises(MissingFileError):
        predictors.make("file", {"path": str(tmp_path / "absent.jsonl")})


def test_echo_answers_from_the_prompts_diagnoses() -> None:
    sample = Sample(
        "1", "Does this chest X-ray show edema?", options=("yes", "no"), diseases=("Edema",), finding="Edema"
    )
    other = replace(sample, id="2", finding="Fracture")
    free = Sample("3", "Write the findings.", diseases=("Edema", "Fracture"))
    assert [(o.text, o.scores) for o in predictors.make("echo", {}).predict([sample, other, free])] == [
        ("yes", (1.0, 0.0)),
        ("no", (0.0, 1.0)),
        ("Edema. Fracture", None),
    ]


@pytest.mark.parametrize("text", ["a", "a=1,b", "a=1,a=2", "=1"])
def test_model_args_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        evaluation.parse_model_args(text)


def test_model_args_the_model_does_not_know() -> None:
    assert evaluation.parse_model_args("a=1, b=x=y") == {"a": "1", "b": "x=y"}
    with pytest.raises(UsageError, match="its arguments: seed"):
        predictors.make("random", {"sede": "1"})
    with pytest.raises(UnknownNameError):
        predictors.make("nope", {})
    assert predictors.random(1).settings == {"seed": 1}


def test_command_line_end_to_end(tmp_path: Path) -> None:
    worlds.det10(tmp_path / "det10")
    code = "from cxr_max.cli import main; main()"
    run = [sys.executable, "-c", code, "eval", "--model", "random", "--tasks", TASK, "--out", str(tmp_path / "run")]
    root = f"chestx-det10={tmp_path / 'det10'}"
    done = subprocess.run([*run, "--root", root, "--draws", "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = [*run, "--root", root, "--draws", "20", "--json"]
    printed = subprocess.run(again, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout)["scores"]
    shown = subprocess.run(
        [sys.executable, "-c", code, "grade", str(tmp_path / "run"), "--json", "--draws", "20"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["scores"]
    bad = subprocess.run([*run[:-2], "--out", str(tmp_path / "no")], capture_output=True, text=True, check=False)
    assert bad.returncode == 3
    assert "cxr-max roots set" in bad.stderr


def test_a_table_never_mixes_signatures_in_one_block() -> None:
    row = {"task": "t", "score": "s", "group": "g", "subset": "all", "value": 0.5, "low": 0.4, "high": 0.6, "n": 20,
           "patients": 20, "failed": 0}  # fmt: skip
    text = score_files.table([{**row, "signature": "a"}, {**row, "signature": "b"}], title="x")
    assert text.count("## t, all") == 2


class Scores(Counting):
    """Answers with scores of its own."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = scores

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        yield from (Output("yes", self.scores) for _ in samples)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [((float("nan"), 0.0), "NaN"), ((0.0,), "1 scores for 2 options"), ((0.0, 1.0, 2.0), "3 scores for 2 options")],
    ids=["nan", "one", "three"],
)
def test_scores_that_are_none_are_failures_of_their_samples(
    scores: tuple[float, ...], reason: str, tmp_path: Path
) -> None:
    config = _config(tmp_path)
    evaluation.run(config, lambda: Scores(*scores))
    assert all(reason in row["failed"] for row in _journal(tmp_path))
    assert all(r["failed"] == r["n"] for r in evaluation.grade(config.out, draws=5))


def test_options_that_are_both_impossible_lean_to_neither(tmp_path: Path) -> None:
    config = _config(tmp_path)
    evaluation.run(config, lambda: Scores(float("-inf"), float("-inf")))
    assert {r["value"] for r in evaluation.grade(config.out, draws=5)} == {0.5}


def test_rows_that_stand_twice_are_an_error(tmp_path: Path) -> None:
    config = _config(tmp_path)
    table = tmp_path / "det10" / "test.json"
    table.write_text(json.dumps(json.loads(table.read_text()) + json.loads(table.read_text())[:2]))
    with pytest.raises(DataError, match="20 of 260 questions"):
        evaluation.run(config, Counting)


def test_what_belongs_beside_a_number_stands_in_the_table(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path / "world")
    (tmp_path / "world" / "SYNTHETIC").touch()
    config = evaluation.EvalConfig(("ms_cxr_t_presence_blank0",), tmp_path / "run", Context(roots))
    evaluation.run(config, Counting)
    rows = evaluation.grade(config.out, draws=5)
    edema = next(r for r in rows if (r["score"], r["group"]) == ("accuracy", "Edema"))
    assert edema["prevalence"] == edema["classes"]["yes"] / edema["n"]
    line = next(x for x in (config.out / "table.md").read_text().splitlines() if x.startswith("| accuracy | Edema |"))
    assert f"prevalence {edema['prevalence']:.3f}, majority {edema['majority']:.3f}" in line
