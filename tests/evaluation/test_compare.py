"""Comparing runs: intervals and paired differences, families, signatures apart, the gate, the published block."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cxr_max import evaluation
from cxr_max.cli import application
from cxr_max.errors import CheckFailedError, DataError, UnknownNameError, UsageError
from cxr_max.evaluation import comparison_page, gating, grading, metrics, published
from cxr_max.evaluation.comparing import CompareConfig, compare, verdict
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.intervals import bootstrap, mean
from cxr_max.evaluation.paired import difference
from cxr_max.evaluation.types import Context, Measure, Output, Sample
from tests.evaluation import worlds

TASK = "ms_cxr_t_presence_blank0"


class Answering:
    """Wrong on every n-th question by a sum over its id, right on the others."""

    revision, settings = "1", {}

    def __init__(self, name: str, truths: dict[str, str], wrong_every: int) -> None:
        self.name, self.truths, self.every = name, truths, wrong_every

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        for sample in samples:
            truth = self.truths[sample.id]
            wrong = sum(sample.id.encode()) % self.every == 0
            yield Output({"yes": "no", "no": "yes"}[truth] if wrong else truth)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs good, poor and again (= good) over one task, and other over another one."""
    folder = tmp_path_factory.mktemp("compare")
    context = Context(worlds.ms_cxr_t(folder / "world"))
    (folder / "world" / "SYNTHETIC").touch()
    for name, task, every in (
        ("good", TASK, 9), ("poor", TASK, 1), ("again", TASK, 9), ("other", "ms_cxr_t_presence_strict", 9),
    ):  # fmt: skip
        items = evaluation.tasks.get(task).load(context)
        truths = {i.sample.id: i.target for i in items}
        config = evaluation.EvalConfig((task,), folder / name, context)
        evaluation.run(config, lambda name=name, truths=truths, every=every: Answering(name, truths, every))
        evaluation.grade(folder / name, draws=100)
    return folder


def _config(runs: Path, *names: str, **more: Any) -> CompareConfig:
    return CompareConfig(tuple(runs / n for n in names), draws=200, **more)


def _mean_accuracy(run: Path) -> float:
    rows = json.loads((run / "scores.json").read_text())["scores"]
    return next(r["value"] for r in rows if (r["score"], r["group"]) == ("macro_accuracy", "mean"))


def test_differences_are_run_minus_baseline_and_the_better_run_is_named_so(runs: Path) -> None:
    found = compare(_config(runs, "poor", "good"))
    headline = [d for d in found.differences if d["family"] == "headline"]
    assert [(d["score"], d["group"], d["run"], d["baseline"]) for d in headline] == [
        ("macro_accuracy", "mean", "good", "poor")
    ]
    scores = {n: _mean_accuracy(runs / n) for n in ("good", "poor")}
    assert headline[0]["value"] == pytest.approx(scores["good"] - scores["poor"])
    assert headline[0]["low"] < headline[0]["value"] < headline[0]["high"]
    assert headline[0]["verdict"] == "better"
    back = compare(_config(runs, "good", "poor"))
    assert next(d for d in back.differences if d["family"] == "headline")["verdict"] == "worse"
    # abstention is better when lower and has no difference here
    assert {d["verdict"] for d in found.differences if d["score"] == "abstention"} == {"undecided"}


def test_equal_runs_differ_by_nothing(runs: Path) -> None:
    found = compare(_config(runs, "good", "again"))
    assert all(d["value"] == 0 and d["p"] == 1 and d["verdict"] == "undecided" for d in found.differences)


def test_families_are_complete_and_corrected(runs: Path) -> None:
    found = compare(_config(runs, "poor", "good", "again"))
    assert sum(f["size"] for f in found.families.values()) == len(found.differences)
    headline = [d for d in found.differences if d["family"] == "headline"]
    assert [d["p_adjusted"] for d in headline] == pytest.approx([min(1, 2 * d["p"]) for d in headline])


def test_rows_with_different_signatures_stand_in_no_common_column(runs: Path) -> None:
    found = compare(_config(runs, "good", "other"))
    assert all(len(b["rows"]) == 1 for b in found.blocks)
    assert not found.differences
    assert found.unpaired[0]["run"] == "other"


def test_without_the_data_stored_scores_are_shown_without_differences(runs: Path, tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    (stored / "scores.json").write_text((runs / "good" / "scores.json").read_text())
    found = compare(CompareConfig((stored, runs / "poor"), draws=100))
    assert "stored scores only" in found.runs[0]["note"]
    assert not found.differences
    assert all(set(b["rows"]) == {"stored", "poor"} for b in found.blocks)


def test_what_cannot_be_compared_is_an_error(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run is named"):
        compare(CompareConfig(()))
    with pytest.raises(UsageError, match="twice"):
        compare(_config(runs, "good", "good"))
    with pytest.raises(UnknownNameError, match="known: good"):
        compare(_config(runs, "good", baseline="sft"))
    with pytest.raises(UsageError, match="holds no evaluation run"):
        compare(CompareConfig((tmp_path,)))
    (tmp_path / "scores.json").write_text('{"scores": [{}]}')
    with pytest.raises(DataError, match="no result"):
        compare(CompareConfig((tmp_path,)))


def test_the_gate_lets_an_equal_run_through_and_shuts_on_a_worse_one(runs: Path) -> None:
    loaded = compare(_config(runs, "again", "poor", "other")).loaded
    gating.enforce(gating.check(loaded[0], runs / "good"))
    rows = gating.check(loaded[1], runs / "good")
    assert {"worse", "ok"} == {r["outcome"] for r in rows}
    for row in rows:
        sign = -1 if row["score"] == "abstention" else 1
        limit = row["low"] if sign > 0 else row["high"]
        assert (row["outcome"] == "worse") == (sign * row["value"] < sign * limit)
    with pytest.raises(CheckFailedError, match="worse than the stored"):
        gating.enforce(rows)
    with pytest.raises(CheckFailedError, match="nothing can be compared"):
        gating.check(loaded[2], runs / "good")


def test_the_gate_shuts_on_scores_that_vanish_or_become_undefined(runs: Path) -> None:
    run = compare(_config(runs, "again")).loaded[0]
    fewer = gating.Run("fewer", "m", True, run.rows[:-1])
    assert [r["outcome"] for r in gating.check(fewer, runs / "good")].count("missing") == 1
    undefined = tuple({**r, "value": float("nan")} for r in run.rows)
    rows = gating.check(gating.Run("undefined", "m", True, undefined), runs / "good")
    assert {r["outcome"] for r in rows} == {"worse"}


def test_the_gate_ignores_the_version_of_the_tool_and_no_other_part(runs: Path) -> None:
    run = compare(_config(runs, "again")).loaded[0]
    newer = tuple({**r, "signature": r["signature"].replace("cxr-max ", "cxr-max 9.")} for r in run.rows)
    gating.enforce(gating.check(gating.Run("newer", "m", True, newer), runs / "good"))
    other = tuple({**r, "signature": r["signature"].replace("samples all", "samples 5")} for r in run.rows)
    with pytest.raises(CheckFailedError, match="nothing can be compared"):
        gating.check(gating.Run("other", "m", True, other), runs / "good")


def test_the_gate_compares_scores_over_the_same_samples_alone(runs: Path) -> None:
    run = compare(_config(runs, "again")).loaded[0]
    assert len({r["samples"] for r in run.rows}) == 1
    elsewhere = gating.Run("elsewhere", "m", True, tuple({**r, "samples": "0" * 12} for r in run.rows))
    rows = gating.check(elsewhere, runs / "good")
    assert {r["outcome"] for r in rows} == {gating.OTHER}
    with pytest.raises(CheckFailedError, match="other samples"):
        gating.enforce(rows)


def test_a_folder_of_the_benchmark_names_its_runs_and_damaged_scores_are_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"tables": []}')
    with pytest.raises(UsageError, match="holds a benchmark"):
        gating.stored_scores(tmp_path)
    content = json.loads((runs / "good" / "scores.json").read_text())
    content["scores"][0]["value"] = "0.9"
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"scores\.json"):
        gating.stored_scores(tmp_path)
    shutil.copytree(runs / "good", tmp_path / "run")
    for damage in ("", "[]", "{}"):
        (tmp_path / "run" / "restricted" / "run.json").write_text(damage)
        with pytest.raises(DataError, match=r"run\.json is damaged"):
            evaluation.running.described(tmp_path / "run")
        (loaded,) = compare(CompareConfig((tmp_path / "run",))).loaded
        assert "is damaged" in loaded.note


def test_a_headline_score_that_no_task_reports_is_an_error(runs: Path) -> None:
    with pytest.raises(UnknownNameError, match="score 'macro_acuracy'"):
        compare(_config(runs, "good", "again", scores=("macro_acuracy",)))


def test_command_writes_every_file_and_its_exit_code_is_the_gate(runs: Path, tmp_path: Path) -> None:
    call = CliRunner().invoke
    out = tmp_path / "out"
    names = [str(runs / n) for n in ("good", "poor")]
    done = call(application(), ["compare", *names, "--published", "--draws", "50", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {
        "compare.json", "table.md", "table.csv", "table.png", "differences.csv",
    }  # fmt: skip
    text = (out / "table.md").read_text()
    assert "synthetic" in text.splitlines()[0]
    own, _, theirs = text.partition(published.HEADING)
    assert "CoCa-CXR" in theirs
    assert "CoCa-CXR" not in own
    assert "good" not in theirs
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["run"] for r in rows} == {"good", "poor"}
    printed = call(application(), ["compare", *names, "--draws", "50", "--json"])
    content = json.loads(printed.output)
    assert content["differences"]
    assert content == json.loads(json.dumps(content, allow_nan=False))
    gate = ["--draws", "50", "--gate", str(runs / "good")]
    assert call(application(), ["compare", str(runs / "again"), *gate]).exit_code == 0
    assert isinstance(call(application(), ["compare", str(runs / "poor"), *gate]).exception, CheckFailedError)


def test_published_tables_are_as_the_paper_prints_them() -> None:
    tables = {t.name: t for t in published.tables()}
    assert set(tables) == {"table_1", "table_2", "table_3", "table_4", "table_5", "table_7"}
    for table in tables.values():
        assert table.source
        assert table.protocol
        assert table.contradictions
        assert all(len(v) == len(table.columns) for v in table.rows.values())
        assert set(table.near) <= set(evaluation.tasks.names())
    ranges = [max(c) - min(c) for c in zip(*(v[:5] for v in tables["table_2"].rows.values()), strict=True)]
    assert ranges == pytest.approx([0.76, 0.28, 0.53, 0.82, 0.57])
    for name in ("table_1", "table_2", "table_5"):
        for values in tables[name].rows.values():
            assert np.mean(values[:5]) == pytest.approx(values[5], abs=0.0111)
    assert [t.name for t in published.tables({"zero_shot_open_i"})] == ["table_4"]
    assert len(published.tables({"a_task_of_my_own"})) == len(tables)


def _scored(answers: Sequence[str], truths: Sequence[str], patients: Sequence[str]) -> Scored:
    metric = metrics.get("macro_accuracy")
    stats = metric.statistics(predictions=answers, references=truths, labels=("yes", "no"))
    interval = bootstrap(
        lambda w: metric.aggregate(stats, w)["accuracy"], patients, all_patients=patients, draws=200, seed=0
    )
    names = tuple(patients)
    measure = Measure("macro_accuracy", "all", stats, names)
    samples = tuple(map(str, range(len(names))))
    return Scored({"score": "accuracy"}, interval, (measure,), samples, names)


def test_randomisation_test_equals_the_exact_enumeration() -> None:
    truths = ["yes"] * 6
    one, other = _scored(["yes"] * 6, truths, "abcdef"), _scored(["no"] * 6, truths, "abcdef")
    d = difference(one, other, draws=20_000, seed=0)
    assert d.value == 1
    # Of 64 ways to exchange the patients, two give a difference of 1 in size.
    assert d.p == pytest.approx(2 / 64, abs=0.004)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4)), min_size=2, max_size=20))
def test_a_difference_changes_its_sign_with_the_order(rows: list[tuple[bool, bool, int]]) -> None:
    truths = ["yes"] * len(rows)
    patients = [str(r[2]) for r in rows]
    one, other = (_scored(["yes" if r[k] else "no" for r in rows], truths, patients) for k in (0, 1))
    forth, back = (difference(a, b, draws=100, seed=1) for a, b in ((one, other), (other, one)))
    assert forth.value == -back.value
    assert forth.p == back.p
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), nan_ok=True)


def test_type_one_error_holds_with_patients_of_several_questions() -> None:
    rng = np.random.default_rng(5)
    patients = [str(i // 4) for i in range(80)]
    rejected = 0
    for _ in range(200):
        hard = rng.random(20)[[int(p) for p in patients]]
        said = [np.where(rng.random(80) < hard, "yes", "no").tolist() for _ in range(2)]
        one, other = (_scored(answers, ["yes"] * 80, patients) for answers in said)
        rejected += difference(one, other, draws=99, seed=2).p <= 0.05
    # 99.9 % binomial band around .05 at 200 repeats.
    assert rejected <= 22


def test_auc_is_exchanged_on_ranks_so_that_scales_do_not_matter() -> None:
    metric = metrics.get("auc")
    labels = [0, 1, 0, 1, 1, 0]
    plain = metric.statistics(predictions=[0.1, 0.4, 0.35, 0.8, 0.8, 0.2], references=labels)
    scaled = plain * [1000, 1]
    assert np.array_equal(metric.exchangeable(plain), metric.exchangeable(scaled))
    assert metric.aggregate(metric.exchangeable(plain))["auc"] == metric.aggregate(plain)["auc"]


def test_mean_over_groups_is_compared_group_by_group() -> None:
    parts = [_scored(["yes", "no"], ["yes", "yes"], "ab"), _scored(["yes", "yes"], ["yes", "yes"], "ab")]
    measures = tuple(m for p in parts for m in p.measures)
    whole = parts[0]._replace(interval=mean([p.interval for p in parts]), measures=measures)
    assert difference(whole, whole, draws=20, seed=0)[0] == 0
    with pytest.raises(DataError, match="same questions"):
        difference(whole, parts[0], draws=20, seed=0)


@pytest.mark.parametrize(
    ("gain", "p", "said"),
    [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (0.1, 0.05, "undecided"), (0.1, float("nan"), "undecided")],
)
def test_verdicts(gain: float, p: float, said: str) -> None:
    assert verdict(gain, p) == said


def test_small_cells_of_real_data_are_shown_as_suppressed(runs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    monkeypatch.setattr(grading, "FEW_PATIENTS", 13)
    found = compare(_config(runs, "good", "poor"))
    assert not found.differences
    assert "fewer than 13 patients" in comparison_page.markdown(found)
