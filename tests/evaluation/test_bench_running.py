"""The whole benchmark on a toy: real training of a few steps, one result a job, resumed, shared, chosen on validate."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxr_max import data, synth
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.evaluation import bench
from cxr_max.evaluation.bench import results, running, stages, tables
from cxr_max.evaluation.bench.config import Design, Endpoint
from cxr_max.roots import resolve

TEST = Endpoint("diagnosis_test", "macro_accuracy", "mean", "macro balanced accuracy")
SIDE = Endpoint("diagnosis_test", "side_accuracy", "all", "side accuracy of the rationale")
VALIDATE = Endpoint("diagnosis_validate", "macro_accuracy", "mean", "macro balanced accuracy on validate")
ROWS = (
    "sft_single", "sft", "sft_long", "sft_consensus", "dpo_pairs", "apo", "apo_weighted", "apo_random_neg", "base",
    "apo_in_context",
)  # fmt: skip
LACKING = {"base": "pretrained", "apo_in_context": "read all trajectories"}
TOY = Design(
    TEST, SIDE, VALIDATE, ROWS, sft_epochs=1, epochs=1, fresh_rates=(1e-3,), continued_rates=(1e-4,),
    preference=((0.1, 1e-4),), predictor={"max_tokens": "4", "batch_size": "16"}, undertrained=True,
)  # fmt: skip


def _build(*, release: Path, out: Path, roots: tuple[str, ...], seed: int) -> tuple[Any, ...]:
    from cxr_max.align import ModelSpec, Optimizer, Scratch, TrainConfig

    model = ModelSpec(scratch=Scratch(vocabulary=400), freeze_vision=False, min_pixels=56**2, max_pixels=56**2)
    optimizer = Optimizer(learning_rate=1e-3, groups=2)
    return (
        TrainConfig(release=release, out=out, model=model, method="sft", template="diagnose", optimizer=optimizer,
                    roots=roots, seed=seed, limit=6, max_completion=24, check_memory=False),
    )  # fmt: skip


RECIPE = SimpleNamespace(NAME="toy", DESIGN=TOY, QUICK=TOY, build=_build)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    synth.write_world(synth.WorldConfig(subjects=40, seed=3, size=64, length=0.2), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release")
    return folder


def _config(world: Path, out: Path, *names: str, **more: Any) -> Any:
    where = {"roots": resolve([], mimic_roots=[world / "world" / "mimic"]), "truth": world / "world" / "truth"}
    return bench.configure(RECIPE, world / "release", out, names=names, draws=100, **where, **more)


@pytest.fixture(scope="module")
def whole(world: Path) -> tuple[Any, list[results.Result]]:
    config = _config(world, world / "out")
    return config, running.run(config)


def test_every_row_leaves_a_result_with_costs_and_statistics(whole: tuple[Any, list[results.Result]]) -> None:
    config, found = whole
    assert {r.row for r in found} == set(ROWS)
    for r in found:
        assert r.about["machine"]["cores"] >= 1
        assert "commit" in r.about
        if r.row in LACKING:
            assert LACKING[r.row] in r.not_run
            continue
        assert r.cost("trunk_tokens") > 0
        assert r.cost("flop") > 0
        assert {m.metric for m in r.measures} == {"macro_accuracy", "claims", "style"}
        assert "extractor grammar v1" in r.signature
        assert "synthetic" in r.signature
        assert r.marks == ()
    assert len({r.signature for r in found if r.measures}) == 1
    assert all("synthetic" in p.name for p in (config.out / "results").iterdir())


def test_rows_that_start_from_sft_share_its_checkpoint_and_its_cost(whole: tuple[Any, list[results.Result]]) -> None:
    by = {r.row: r for r in whole[1]}
    for name in set(ROWS) - {*LACKING, "sft", "sft_single"}:
        first, second = by[name].costs
        assert {k: v for k, v in first.items() if k != "wall_s"} == {
            k: v for k, v in by["sft"].costs[0].items() if k != "wall_s"
        }
        assert second["stage"] == name


def test_sft_long_costs_what_the_costliest_row_costs(whole: tuple[Any, list[results.Result]]) -> None:
    by = {r.row: r for r in whole[1]}
    longest = max(r.cost("flop") for r in whole[1] if r.row not in (*LACKING, "sft_long"))
    step = by["sft"].costs[0]["flop"] / by["sft"].costs[0]["steps"]
    assert abs(by["sft_long"].cost("flop") - longest) < 1.5 * step


def test_each_row_is_trained_on_what_it_says(whole: tuple[Any, list[results.Result]]) -> None:
    folder = whole[0].out / "runs"
    trained = {p.name.split("-")[0]: json.loads((p / "stage" / "final" / "training.json").read_text())
               for p in folder.iterdir() if (p / "stage").is_dir()}  # fmt: skip
    assert trained["apo"]["method"] == "apo"
    assert trained["dpo_pairs"]["method"] == "dpo_pairs"
    assert trained["sft_consensus"]["method"] == "sft"
    assert {t["release"]["version"] for t in trained.values()} == {"0.0.0+synthetic.3", "0.1.0+synthetic.3"}
    assert trained["sft"]["release"]["version"] == "0.0.0+synthetic.3"


def test_the_table_says_what_it_is(whole: tuple[Any, list[results.Result]], tmp_path: Path) -> None:
    config, found = whole
    tables.write(tables.summarise(found, config.design, draws=50), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "synthetic" in text.splitlines()[0]
    assert "undertrained" in text.lower()
    assert all(f"| {row} |" in text for row in ROWS)


def test_finished_jobs_are_not_run_again(whole: tuple[Any, list[results.Result]], monkeypatch: Any) -> None:
    config, found = whole

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished job was run again")

    monkeypatch.setattr(running, "_job", never)
    assert [r.row for r in running.run(config)] == [r.row for r in found]


def test_a_result_of_another_row_or_of_other_data_is_not_taken_for_this_ones(
    whole: tuple[Any, list[results.Result]], world: Path
) -> None:
    config, _ = whole
    at = ROWS.index("apo")
    changed = replace(
        config, rows=(*config.rows[:at], replace(config.rows[at], weights="table"), *config.rows[at + 1 :])
    )
    with pytest.raises(UsageError, match=r"apo-seed0\.json is of another row apo"):
        running.run(changed, only=[j.row.name for j in bench.plan(changed)].index("apo"))
    fewer = _config(world, config.out, "sft", teachers=("gpt-5", "grok-4"))
    with pytest.raises(UsageError, match=r"sft-seed0\.json is of another design, release, student, or other teachers"):
        running.run(fewer)
    # The name and the sentence of a row change nothing of what it does.
    assert running.row_digest(config.rows[at]) == running.row_digest(replace(config.rows[at], sentence="Else."))


def test_the_choice_of_another_row_or_other_data_is_not_taken_and_a_damaged_one_is_an_error(
    world: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    two = replace(TOY, rows=("sft",), fresh_rates=(1e-3, 2e-3), continued_rates=(1e-4, 2e-4),
                  preference=((0.1, 1e-4), (0.5, 1e-4)))  # fmt: skip
    config = replace(_config(world, tmp_path / "out", "sft"), design=two)
    row = config.rows[0]
    monkeypatch.setattr(running, "trial_value", lambda c, t, tell: float("nan") if t.number else 0.5)
    setting, tried = running.choose(config, row, print)
    assert str(setting) == "lr 0.001"
    tried = running.grading.finite(tried)
    empty = results.Result("sft", "s", 0, 1.0, "s", tried=tried, not_run="no weights", about={"synthetic": True})
    results.write(empty, tmp_path / "result.json")
    assert results.read(tmp_path / "result.json").tried == {"lr 0.001": 0.5, "lr 0.002": None}
    monkeypatch.setattr(running, "trial_value", None)
    with pytest.raises(UsageError, match="chosen for another row of this name"):
        running.choose(config, replace(row, teachers="best"), print)
    with pytest.raises(UsageError, match="other teachers"):
        running.choose(replace(config, teachers=("gpt-5", "grok-4")), row, print)
    path = config.out / "trials" / "sft.json"
    whole_text = path.read_text()
    for damage in ("", whole_text[:50], "[]", "{}", whole_text.replace('"chosen": 0', '"chosen": 9')):
        path.write_text(damage)
        with pytest.raises(DataError, match="no choice of settings"):
            running.choose(config, row, print)


def test_a_part_of_the_patients_is_a_part_of_the_images(world: Path, tmp_path: Path) -> None:
    config = _config(world, tmp_path / "out", "sft", fractions=(1.0, 0.5))
    place = stages.Place(world / "release", tmp_path / "stage", None)
    setting = running.candidates(config.design, config.rows[0])[0]
    limits = {j.fraction: stages.stage_of(config, j, setting, place).limit for j in bench.plan(config)}
    assert limits == {1.0: 6, 0.5: 3}


def test_what_a_row_fixes_is_what_it_is_trained_with(world: Path, tmp_path: Path) -> None:
    config = _config(world, tmp_path / "out", "sft", "apo")
    fixed = replace(config.rows[1], hyper={"beta": 0.2})
    settings = running.candidates(config.design, fixed)
    assert [s.beta for s in settings] == [0.2]
    place = stages.Place(world / "release", tmp_path / "stage", None)
    for setting in (settings[0], running.candidates(config.design, config.rows[1])[0]):
        stage = stages.stage_of(config, bench.planning.Job(0, fixed, 0, 1.0), setting, place)
        assert stage.hyper["beta"] == 0.2


def test_a_model_from_elsewhere_is_marked_as_one_checkpoint(
    whole: tuple[Any, list[results.Result]], world: Path, tmp_path: Path
) -> None:
    trained = whole[0].out / "runs" / "apo-seed0" / "stage" / "final"
    config = _config(world, tmp_path / "out", "sft", added=[f"mine={trained}"], seeds=2)
    jobs = [j.index for j in bench.plan(config) if j.row.name == "mine"]
    for index in jobs:
        found = running.run(config, only=index)
    assert [(r.seed, r.marks) for r in found] == [(s, (stages.ONE_CHECKPOINT,)) for s in (0, 1)]
    (table,) = tables.summarise(found, config.design, draws=20)
    assert "| mine (one checkpoint) |" in tables.markdown(table)
    assert tables.ASKED_ALIKE in tables.markdown(table)


NAN = """from cxr_max.align.losses import wide
from cxr_max.align.methods.sft import Hyper, NAME, NEEDS, SUPERVISED
from cxr_max.align.methods import sft

def loss(group, hyper):
    output = sft.loss(group, hyper)
    return output._replace(loss=output.loss * float("nan"))
"""


def test_a_method_that_diverges_gives_no_result_and_a_trial_no_value(world: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(NAN)
    (tmp_path / "mine.toml").write_text(f'sentence = "M [/red]."\nmethod = "{tmp_path / "broken.py"}"\n')
    config = _config(world, tmp_path / "out", "sft", str(tmp_path / "mine.toml"))
    said: list[str] = []
    (found,) = running.run(config, only=1, tell=said.append)
    assert found.not_run.startswith("training diverged: ")
    assert not found.measures
    assert any("training diverged" in line for line in said)
    trial = bench.planning.Trial(config.rows[1], running.candidates(config.design, config.rows[1])[0], 0, 0)
    assert math.isnan(running.trial_value(config, trial, said.append))


def test_a_changed_method_file_is_another_row(world: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NAN.replace(' * float("nan")', ""))
    (tmp_path / "mine.toml").write_text(f'sentence = "M."\nmethod = "{tmp_path / "own.py"}"\n')
    row = _config(world, tmp_path / "out", "sft", str(tmp_path / "mine.toml")).rows[1]
    before = running.row_digest(row)
    assert running.row_digest(row) == before
    (tmp_path / "own.py").write_text(NAN.replace(' * float("nan")', " * 2"))
    assert running.row_digest(row) != before


def test_a_student_of_real_data_makes_the_folder_restricted(
    whole: tuple[Any, list[results.Result]], world: Path, tmp_path: Path
) -> None:
    trained = whole[0].out / "runs" / "apo-seed0" / "stage" / "final"
    real = tmp_path / "real"
    shutil.copytree(trained, real)
    record = json.loads((real / "training.json").read_text())
    assert record["synthetic"] is True
    config = _config(world, tmp_path / "open", "sft", added=[f"mine={trained}"])
    assert not running.saw_real(config)
    (real / "training.json").write_text(json.dumps({**record, "synthetic": False}))
    config = _config(world, tmp_path / "out", "sft", added=[f"mine={real}"])
    (found,) = running.run(config, only=1)
    assert found.about["saw_real"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert running.result_path(config, bench.plan(config)[1], synthetic=True).is_file()


def test_the_truth_of_another_world_is_an_error(world: Path, tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(subjects=12, seed=9, size=64, length=0.2), tmp_path / "other")
    where = {"roots": resolve([], mimic_roots=[world / "world" / "mimic"]), "truth": tmp_path / "other" / "truth"}
    config = bench.configure(RECIPE, world / "release", tmp_path / "out", names=("sft_single", "sft"), **where)
    with pytest.raises(DataError, match="that of another world"):
        stages.best_teacher(config)
    with pytest.raises(DataError, match="that of another world"):
        running.run(config, only=1)


def test_one_job_at_a_time_and_the_longest_only_after_the_others(world: Path, tmp_path: Path) -> None:
    config = _config(world, tmp_path / "out", "sft", "sft_long", "sft_consensus")
    jobs = bench.plan(config)
    assert [j.row.name for j in jobs] == ["sft", "sft_consensus", "sft_long"]
    with pytest.raises(UsageError, match="jobs 0, 1 have no result"):
        running.run(config, only=2)
    assert [r.row for r in running.run(config, only=0)] == ["sft"]
    with pytest.raises(UsageError, match="jobs 0 to 2"):
        running.run(config, only=3)


def test_settings_are_chosen_on_validate_and_the_choice_is_kept(world: Path, tmp_path: Path, monkeypatch: Any) -> None:
    config = _config(world, tmp_path / "out", "sft")
    two = replace(TOY, rows=("sft",), fresh_rates=(1e-3, 2e-3), continued_rates=(1e-4, 2e-4),
                  preference=((0.1, 1e-4), (0.5, 1e-4)))  # fmt: skip
    config = replace(config, design=two)
    values = {(0, 0): 0.5, (0, 1): 0.6, (1, 0): 0.9, (1, 1): 0.4}
    monkeypatch.setattr(running, "trial_value", lambda c, t, tell: values[t.number, t.seed])
    setting, tried = running.choose(config, config.rows[0], print)
    assert (str(setting), tried) == ("lr 0.002", {"lr 0.001": pytest.approx(0.55), "lr 0.002": pytest.approx(0.65)})
    monkeypatch.setattr(running, "trial_value", None)
    assert running.choose(config, config.rows[0], print)[0] == setting
    other = replace(config, out=tmp_path / "other", settings_from=config.out)
    assert running.choose(other, config.rows[0], print) == (setting, tried)
    with pytest.raises(UsageError, match=r"chosen among lr 0\.001, lr 0\.002"):
        running.choose(replace(other, design=replace(two, fresh_rates=(1e-3, 3e-3))), config.rows[0], print)
    with pytest.raises(MissingFileError, match="no settings of row sft"):
        running.choose(replace(other, settings_from=tmp_path / "none"), config.rows[0], print)


def test_a_trial_is_judged_on_validate(world: Path, tmp_path: Path) -> None:
    config = _config(world, tmp_path / "out", "sft")
    row = config.rows[0]
    trial = bench.planning.Trial(row, running.candidates(config.design, row)[0], 0, 1)
    value = running.trial_value(config, trial, lambda line: None)
    assert value == pytest.approx(0.0)  # four tokens print no diagnosis: every answer is an abstention
    journal = (tmp_path / "out" / "trials" / trial.name / "eval" / "restricted" / "samples.jsonl").read_text()
    assert {json.loads(line)["questions"] for line in journal.splitlines()} == {"diagnosis_validate"}


def test_the_teacher_is_chosen_by_validate_alone(world: Path, tmp_path: Path) -> None:
    config = _config(world, tmp_path / "out", "sft_single", "sft")
    scores = stages.teacher_scores(config)
    assert len(scores) == 7
    assert stages.best_teacher(config) == max(scores, key=lambda t: scores[t])
    assert stages.teachers_of(config, config.rows[0]) == (stages.best_teacher(config),)
    few = _config(world, tmp_path / "out", "sft_single", "sft", teachers=("gpt-5", "grok-4"))
    assert stages.best_teacher(few) in few.teachers


def test_rows_with_a_consensus_take_some_teachers_alone(world: Path, tmp_path: Path) -> None:
    few = ("sonnet-4", "gemini-2.5", "gpt-5")
    config = _config(world, tmp_path / "out", "sft", "apo", teachers=few)
    by = {r.row: r for r in running.run(config)}
    assert "teachers sonnet-4,gemini-2.5,gpt-5" in by["apo"].signature
    (folder,) = (tmp_path / "out" / "consensus").glob("vote*")
    kept = data.open_release(folder)
    supporters = kept.scan("consensus").collect()["supported_by"].to_list()
    assert {t for row in supporters for t in row} <= set(few)
    (stage,) = (tmp_path / "out" / "runs").glob("apo-seed0/stage/log.jsonl")
    seen = {key.rpartition("/")[2] for line in stage.read_text().splitlines() for key in json.loads(line)
            if key.startswith("length/rejected/")}  # fmt: skip
    assert seen == set(few)


REAL = Design(
    Endpoint("ms_cxr_t_presence_strict", "macro_accuracy", "mean", "macro balanced accuracy"),
    Endpoint("teacher_drift", "side_accuracy", "all", "side accuracy against the report"),
    Endpoint("presence_validate", "macro_accuracy", "mean", "macro balanced accuracy on validate"),
    ("sft_single", "sft", "apo", "apo_in_context"), fresh_rates=(1e-3, 2e-3), continued_rates=(1e-4, 2e-4),
    preference=((0.1, 1e-4), (0.1, 2e-4)), trial_seeds=1, predictor={"max_tokens": "4", "batch_size": "16"},
    consensus={"max_tokens": 4, "max_characters": 40}, reader=True, undertrained=True,
)  # fmt: skip


def test_without_a_truth_reports_choose_the_teacher_and_grade_and_the_student_writes_the_consensus(
    world: Path, tmp_path: Path
) -> None:
    recipe = SimpleNamespace(NAME="toy", DESIGN=REAL, QUICK=REAL, build=_build)
    roots = resolve([f"ms-cxr-t={world / 'world' / 'eval' / 'ms-cxr-t'}"], mimic_roots=[world / "world" / "mimic"])
    config = bench.configure(recipe, world / "release", tmp_path / "out", roots=roots, draws=50)
    by = {r.row: r for r in running.run(config)}
    assert set(by) == set(REAL.rows)
    for r in by.values():
        assert {m.task for m in r.measures} == {"ms_cxr_t_presence_strict", "teacher_drift"}
        assert len(r.tried) == 2
        assert "extractor rules" in r.signature
    assert stages.SAME_EXTRACTOR in by["apo"].marks
    assert (tmp_path / "out" / "consensus" / "in_context-sft-seed0" / "manifest.json").is_file()
    (table,) = tables.summarise(list(by.values()), REAL, draws=50)
    assert {row["row"] for row in table["rows"]} == set(REAL.rows)
    assert all("macro balanced accuracy" in row["estimates"] for row in table["rows"])
    scores = stages.teacher_scores(config)
    assert stages.best_teacher(config) == max(scores, key=lambda t: scores[t])
