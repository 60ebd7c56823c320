"""Every task on a small set in the published format: questions, truths, measures, images that are not there."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_max import evaluation
from cxr_max.errors import MissingFileError, UnknownNameError
from cxr_max.evaluation import ask, metrics, tasks
from cxr_max.evaluation.types import Context, Output
from tests.evaluation import worlds

ROOTS: dict[str, Callable[[Path], Any]] = {
    "zero_shot_chestx_det10": worlds.det10,
    "zero_shot_chexpert": worlds.chexpert_valid,
    "zero_shot_chestxray14": worlds.chestxray14,
    "zero_shot_open_i": worlds.openi,
    "ms_cxr_t_presence_strict": worlds.ms_cxr_t,
    "ms_cxr_t_presence_blank0": worlds.ms_cxr_t,
    "ms_cxr_t_presence_annotated": worlds.ms_cxr_t,
    "ms_cxr_t_presence_strict_given_dx": worlds.ms_cxr_t,
    "ms_cxr_t_presence_blank0_given_dx": worlds.ms_cxr_t,
    "ms_cxr_t_presence_annotated_given_dx": worlds.ms_cxr_t,
    "ms_cxr_t_progression": worlds.ms_cxr_t,
}
CLOSED = sorted(ROOTS)
"""Tasks with closed answers; report generation has tests of its own."""


def _context(name: str, folder: Path, **more: Any) -> Context:
    made = ROOTS[name](folder / "world")
    return Context(made if isinstance(made, tuple) else (made,), **more)


def _answered(name: str, folder: Path, right: bool) -> list[Any]:
    def text(item: Any) -> str:
        truth = item.sample.options[0 if item.target else 1] if isinstance(item.target, int) else item.target
        return truth if right else next(o for o in item.sample.options if o != truth)

    return [replace(i, output=Output(text(i))) for i in tasks.get(name).load(_context(name, folder))]


@pytest.mark.parametrize("name", CLOSED)
def test_questions_are_unique_have_images_and_do_not_give_the_answer_away(name: str, tmp_path: Path) -> None:
    items = tasks.get(name).load(_context(name, tmp_path))
    assert items
    assert len({i.sample.id for i in items}) == len(items)
    assert all(i.sample.images and all(p.is_file() for p in i.sample.images) for i in items)
    prompts = {i.group: {j.sample.prompt for j in items if j.group == i.group} for i in items}
    if name.endswith("_given_dx"):
        return
    assert all(len(p) == 1 for p in prompts.values()), "a prompt that differs between samples could carry the answer"


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("right", [True, False])
def test_perfect_and_always_wrong_answers(name: str, right: bool, tmp_path: Path) -> None:
    task = tasks.get(name)
    items = _answered(name, tmp_path, right)
    for measure in task.measures(items, ask.how(items)):
        scores = metrics.get(measure.metric).aggregate(measure.stats)
        value = float(scores.get("auc", scores.get("accuracy"))[0])
        assert np.isnan(value) or value == float(right)
        assert measure.notes["failed"] == 0
        assert measure.notes["n"] == len(measure.patients)


@pytest.mark.parametrize("name", CLOSED)
def test_unanswered_questions_count_as_wrong_and_are_counted(name: str, tmp_path: Path) -> None:
    task = tasks.get(name)
    items = task.load(_context(name, tmp_path))
    for measure in task.measures(items, ask.how(items)):
        scores = metrics.get(measure.metric).aggregate(measure.stats)
        value = float(scores.get("auc", scores.get("accuracy"))[0])
        assert np.isnan(value) or value == 0
        assert measure.notes["failed"] == measure.notes["n"]


@pytest.mark.parametrize("name", CLOSED)
def test_a_limit_takes_the_same_questions_every_time(name: str, tmp_path: Path) -> None:
    context = _context(name, tmp_path, limit=7)
    first = [i.sample.id for i in tasks.get(name).load(context)]
    assert first == [i.sample.id for i in tasks.get(name).load(context)]
    assert len(first) == 7


@pytest.mark.parametrize("name", CLOSED)
def test_without_its_data_a_task_names_the_command(name: str) -> None:
    with pytest.raises(MissingFileError, match="cxr-max"):
        tasks.get(name).load(Context())


def test_the_three_definitions_of_presence(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path)
    counts = {}
    for name in ("strict", "blank0", "annotated"):
        items = tasks.get(f"ms_cxr_t_presence_{name}").load(Context(roots))
        counts[name] = (len(items), sum(i.target == "yes" for i in items))
    # 60 cells; labels cycle through 1, 0, -1, empty, progressions through three values and empty.
    assert counts == {"strict": (30, 15), "blank0": (45, 15), "annotated": (60, 45)}


def test_presence_definitions_share_their_questions(tmp_path: Path) -> None:
    roots = worlds.ms_cxr_t(tmp_path)
    loaded = {n: tasks.get(f"ms_cxr_t_presence_{n}") for n in ("strict", "blank0")}
    samples = {n: {i.sample.id: i.sample for i in t.load(Context(roots))} for n, t in loaded.items()}
    assert all(samples["blank0"][k] == s for k, s in samples["strict"].items())
    assert loaded["strict"].QUESTIONS == loaded["blank0"].QUESTIONS


def test_progression_shows_the_previous_image_first(tmp_path: Path) -> None:
    item = tasks.get("ms_cxr_t_progression").load(Context(worlds.ms_cxr_t(tmp_path)))[0]
    previous, current = item.sample.images
    assert previous.stem < current.stem
    assert item.sample.options == ("improving", "stable", "worsening")


def test_pairs_without_images_are_asked_without_and_all_missing_is_an_error(tmp_path: Path) -> None:
    items = tasks.get("ms_cxr_t_progression").load(Context(worlds.ms_cxr_t(tmp_path / "a", missing_images=3)))
    assert {bool(i.sample.images) for i in items} == {True, False}
    with pytest.raises(MissingFileError, match="none of the 12"):
        tasks.get("ms_cxr_t_progression").load(Context(worlds.ms_cxr_t(tmp_path / "b", missing_images=12)))


def test_unknown_task() -> None:
    with pytest.raises(UnknownNameError, match="ms_cxr_t_progression"):
        tasks.get("nope")


def test_every_task_is_tested_here_or_beside() -> None:
    assert set(tasks.names()) - set(CLOSED) == {
        "diagnosis_test",
        "diagnosis_validate",
        "presence_validate",
        "report_generation_r2gen",
        "report_generation_r2gen_given_dx",
        "report_generation_study",
        "report_generation_study_given_dx",
        "teacher_drift",
        "teacher_drift_given_dx",
    }


def test_the_pooled_auc_stands_beside_the_mean_and_not_in_it(tmp_path: Path) -> None:
    """Who sees only the question has no skill in any class, and some in the pool by knowing what is frequent."""
    root = worlds.det10(tmp_path)
    (tmp_path / "SYNTHETIC").touch()
    task = tasks.get("zero_shot_chestx_det10")
    items = task.load(Context((root,)))
    often = Counter(i.group for i in items if i.target)
    blind = [replace(i, output=Output("yes", (float(often[i.group]), 0.0))) for i in items]
    found = {m.group: float(metrics.get("auc").aggregate(m.stats)["auc"][0]) for m in task.measures(blind, "score")}
    pooled = roc_auc_score([i.target for i in items], [often[i.group] for i in items])
    assert found.pop("pooled over classes") == pytest.approx(pooled)
    assert set(found.values()) == {0.5}
    config = evaluation.EvalConfig((task.NAME,), tmp_path / "run", Context((root,)))
    evaluation.run(config, lambda: Blind(often))
    rows = {r["group"]: r["value"] for r in evaluation.grade(config.out, draws=0)}
    assert rows["mean"] == 0.5
    assert rows["pooled over classes"] > 0.55


class Blind:
    """Scores a class by how often it is there."""

    name, revision, settings = "blind", "1", {"images": False}

    def __init__(self, often: Counter[str]) -> None:
        self.often = often

    def predict(self, samples: Any) -> Any:
        yield from (Output("yes", (float(self.often[s.finding]), 0.0)) for s in samples)
