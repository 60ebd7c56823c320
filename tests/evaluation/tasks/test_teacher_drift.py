"""Teacher drift: questions out of a release and its world, inheritance, suppression, the student's drift report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from cxr_max import align, data, prompts, synth
from cxr_max.align import templates
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import DataError, MissingFileError
from cxr_max.evaluation import ask, grading, metrics, models, predictors, running, tasks, teacher_drift
from cxr_max.evaluation.continuation import Begun, Continuations
from cxr_max.evaluation.types import Context, Failure, Item, Output
from cxr_max.roots import Root
from cxr_max.teachers import TEACHER_IDS
from tests.align import small_models

GIVEN = "teacher_drift_given_dx"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher-drift") / "world"
    synth.write_world(synth.WorldConfig(instances=60, seed=1, size=64), out)
    data.build([out / "raw"], out.parent / "release", "1.0.0")
    return out


@pytest.fixture(scope="module")
def context(world: Path) -> Context:
    root = Root("mimic-cxr-jpg", world / "mimic", "option")
    return Context((root,), None, world.parent / "release", world / "truth")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.qwen(tmp_path_factory.mktemp("models") / "qwen")


def release_of(context: Context) -> data.Release:
    assert context.release is not None
    return data.open_release(context.release)


def whole(items: list[Item]) -> list[Item]:
    return [i for i in items if not isinstance(i.sample, Begun)]


def planted(items: list[Item]) -> list[Item]:
    return [i for i in items if isinstance(i.sample, Begun)]


def scores(measures: list[Any], metric: str, group: str = "all") -> dict[str, float]:
    (mine,) = (m for m in measures if m.metric == metric and m.group == group)
    return {k: float(v[0]) for k, v in metrics.get(metric).aggregate(mine.stats).items()}


def test_every_image_of_the_test_split_is_asked_once(context: Context) -> None:
    items = tasks.get("teacher_drift").load(context)
    instances = release_of(context).scan("instances").collect()
    test = set(instances.filter(pl.col("split") == "test")["instance_id"])
    assert {i.sample.id for i in whole(items)} == test
    assert len({i.sample.id for i in items}) == len(items)
    assert {i.sample.prompt for i in items} == {templates.QUESTION}
    assert all(i.sample.images and all(p.is_file() for p in i.sample.images) for i in items)
    assert all(len(i.target.teachers) == 7 for i in whole(items))
    given = tasks.get(GIVEN).load(context)
    named = dict(instances.select("instance_id", "diseases").iter_rows())
    for item in whole(given):
        assert prompts.parse(item.sample.prompt) == tuple(named[item.sample.id])
        assert item.sample.diseases == tuple(named[item.sample.id])
    assert not any(i.sample.diseases for i in items)


def test_wrong_clauses_stand_where_the_truth_says(context: Context, world: Path) -> None:
    items = planted(tasks.get("teacher_drift").load(context))
    truth = pl.read_parquet(world / "truth" / "assertions.parquet")
    wrong = truth.filter(pl.col("outcome").is_in(teacher_drift.WRONG))
    asked = {i.sample.id.split("/")[0] for i in items}
    assert len(items) == len(
        wrong.filter(pl.col("instance_id").is_in(list(asked))).unique(["instance_id", "teacher", "start"])
    )
    texts = {
        (i, t): x
        for i, t, x in release_of(context)
        .scan("trajectories").select("instance_id", "teacher", "trajectory").collect().iter_rows()
    }  # fmt: skip
    for item in items:
        assert isinstance(item.sample, Begun)
        instance, teacher, *_ = item.sample.id.split("/")
        clause, twin = item.sample.options
        assert texts[instance, teacher].startswith(item.sample.prefix + clause)
        assert clause != twin
    assert len(items) > 50
    assert {i.target.outcome for i in items} <= set(teacher_drift.WRONG)
    # Without a truth folder there is nothing planted.
    assert planted(tasks.get("teacher_drift").load(replace(context, truth=None))) == []


def test_a_student_that_copies_a_teacher(context: Context) -> None:
    """The rates are the teacher's; one that copies the report drifts never, one that declines omits everything."""
    items = [i for i in whole(tasks.get("teacher_drift").load(context)) if i.asked]
    answered = [replace(i, output=Output(i.target.teachers[3])) for i in items]
    found = scores(teacher_drift.measures(answered), "drift_events")
    direct = metrics.drift_events(
        predictions=[i.target.teachers[3] for i in items], references=[i.target for i in items]
    )
    assert {k: v for k, v in found.items() if v == v} == {k: v for k, v in direct.items() if v == v}
    good = [replace(i, output=Output(f"<think>{i.target.report}</think>\n")) for i in items]
    right = scores(teacher_drift.measures(good), "drift_events")
    assert right["contradiction"] == right["invented_finding"] == right["omission"] == 0
    assert right["contradiction_inherited"] < 0
    silent = [replace(i, output=Output("I cannot interpret this image.")) for i in items]
    declined = scores(teacher_drift.measures(silent), "drift_events")
    assert declined["refusal"] == declined["omission"] == 1
    failed = teacher_drift.measures([replace(i, output=Failure("x")) for i in items])
    assert failed[0].notes["failed"] == len(items)


@pytest.mark.parametrize("name", ["teacher_drift", GIVEN])
def test_students_are_compared_on_scores_that_are_there(name: str, context: Context) -> None:
    task = tasks.get(name)
    items = tasks.get(name).load(replace(context, limit=3))
    asked = [replace(i, output=Output("x", (-3.0, -1.0) if isinstance(i.sample, Begun) else None)) for i in items]
    found = {s for m in task.measures(asked, "parse") for s in metrics.get(m.metric).aggregate(m.stats)}
    assert set(task.HEADLINE) <= found
    assert all(metrics.get("drift_events").better(s) == -1 for s in task.HEADLINE if s in found and "inherited" in s)


def test_suppression_needs_likelihoods(context: Context) -> None:
    items = tasks.get("teacher_drift").load(replace(context, limit=5))
    asked = [replace(i, output=Output("x", (-3.0, -1.0) if isinstance(i.sample, Begun) else None)) for i in items]
    made = teacher_drift.measures(asked)
    assert scores(made, "suppression") == {"log_ratio": -2.0, "prefers_twin": 1.0}
    without = [replace(i, output=Output("x")) for i in items]
    (mine,) = (m for m in teacher_drift.measures(without) if m.metric == "suppression" and m.group == "all")
    assert mine.notes == {"n": 5, "failed": 5}


def by_hand(loaded: models.Loaded, sample: Begun, option: str, opening: str = "") -> float:
    """Mean log-probability of an option's tokens, from the model's whole forward on the text itself."""
    renderer = replace(loaded.renderer, template="rationale")
    group = PreferenceGroup("i", (), ("-",), ("x",), prompt=sample.prompt, image=str(sample.images[0]))
    prefix_P, pixels = renderer.prefix(group)
    begun = opening + sample.prefix
    coded = renderer.tokenizer(
        begun + option, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    ids_T = torch.tensor(coded["input_ids"])
    mine = torch.tensor([end > len(begun) for _, end in coded["offset_mapping"]])
    row = torch.cat([prefix_P, ids_T])[None]
    images = (row == renderer.image_token_id).int()
    with torch.no_grad():
        logits = loaded.model(input_ids=row, mm_token_type_ids=images, **pixels).logits[0]
    logp = logits[len(prefix_P) - 1 : -1].log_softmax(-1).gather(-1, ids_T[:, None])[:, 0]
    return float(logp[mine].mean())


@pytest.mark.parametrize("template", ["rationale", "diagnose"])
def test_continuations_equal_the_models_own_forward(context: Context, model: Path, template: str) -> None:
    loaded = models.load(str(model), dtype="float32")
    loaded = replace(loaded, renderer=replace(loaded.renderer, template=template))
    score = Continuations(loaded.model, loaded.renderer)
    slow = Continuations(loaded.model, loaded.renderer)
    slow._shared = False
    for item in planted(tasks.get("teacher_drift").load(replace(context, limit=4))):
        assert isinstance(item.sample, Begun)
        answer = score.score(item.sample)
        assert isinstance(answer, Output)
        assert answer.scores is not None
        opening = "<think>" if template == "diagnose" else ""
        assert answer.scores == pytest.approx(
            [by_hand(loaded, item.sample, o, opening) for o in item.sample.options], abs=1e-4
        )
        assert answer.text == max(zip(answer.scores, item.sample.options, strict=True))[1]
        other = slow.score(item.sample)
        assert isinstance(other, Output)
        assert other.scores == pytest.approx(answer.scores, abs=1e-4)
    assert score._shared is True
    # A clause that spells a special token is text; a question that does is refused.
    odd = replace(item.sample, options=("<|im_end|> is seen", "No effusion"))
    assert isinstance(score.score(odd), Output)
    assert isinstance(score.score(replace(odd, prompt="<|im_end|>")), Failure)
    assert isinstance(score.score(replace(odd, options=("", "x"))), Failure)


def test_a_run_end_to_end(context: Context, model: Path, tmp_path: Path) -> None:
    few = replace(context, limit=5)
    config = running.EvalConfig(("teacher_drift",), tmp_path / "run", few)
    out = running.run(config, lambda: predictors.make("hf", {"model": str(model), "max_tokens": "12"}))
    lines = (out / "restricted" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 10
    rows = grading.grade(out, draws=50)
    found = {(r["score"], r["group"]): r["value"] for r in rows}
    assert -50 < found["log_ratio", "all"] < 50
    assert 0 <= found["prefers_twin", "all"] <= 1
    assert found["contradiction_mixture", "all"] > 0
    # The student in the drift report, beside its teachers.
    report = json.loads((out / "teacher_drift" / "report.json").read_text())
    teachers = {r["teacher"] for r in report["teachers"]}
    assert teachers >= {*TEACHER_IDS, teacher_drift.STUDENT}
    page = (out / "teacher_drift" / "index.html").read_text()
    assert teacher_drift.STUDENT in page
    # Nothing that may be shared holds an id.
    ids = {i.sample.id for i in tasks.get("teacher_drift").load(few)}
    assert not any(i in page or i in json.dumps(report) for i in ids)
    assert grading.finite(grading.grade(out, draws=50)) == grading.finite(rows)


def test_baselines_do_not_break_on_it(context: Context, tmp_path: Path) -> None:
    few = replace(context, limit=3)
    for name in ("majority", "echo", "random"):
        config = running.EvalConfig(("teacher_drift", GIVEN), tmp_path / name, few)
        out = running.run(config, lambda n=name: predictors.make(n, {}))  # type: ignore[misc]
        texts = [json.loads(line) for line in (out / "restricted" / "samples.jsonl").read_text().splitlines()]
        assert texts
        assert not any("Reference(" in (t.get("output") or "") for t in texts)


def test_prompts_are_those_of_training(context: Context) -> None:
    assert ask.question("reason") == templates.QUESTION
    assert align.templates.get("diagnose").question(None) == templates.QUESTION  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["teacher_drift", GIVEN])
def test_what_is_missing_is_named(name: str, context: Context, world: Path, tmp_path: Path) -> None:
    load = tasks.get(name).load
    with pytest.raises(MissingFileError, match="cxr-max build"):
        load(replace(context, release=None))
    with pytest.raises(MissingFileError, match="cxr-max roots"):
        load(replace(context, roots=()))
    with pytest.raises(MissingFileError, match="cxr-max synth"):
        load(replace(context, truth=tmp_path))
    # The truth of another world.
    synth.write_world(synth.WorldConfig(instances=10, seed=77, images=False), tmp_path / "other")
    with pytest.raises(DataError, match="no wrong clause"):
        load(replace(context, truth=tmp_path / "other" / "truth"))
