"""The plan of the benchmark: equal budgets, equal numbers of trials, order, commands; nothing is trained here."""

import shlex
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.evaluation import rows
from cxr_max.evaluation.bench import commands, configure, plan, shares, some_teachers
from cxr_max.evaluation.bench.config import Design, Endpoint, candidates, given
from cxr_max.evaluation.bench.planning import epochs, sft_of, trials

END = Endpoint("diagnosis_test", "macro_accuracy", "mean", "macro balanced accuracy")
ALL = ("sft_single", "sft", "sft_long", "sft_consensus", "dpo_pairs", "apo", "apo_weighted", "apo_random_neg")
DESIGN = Design(
    END, END, END, ALL, sft_epochs=4, epochs=2, fresh_rates=(1e-3, 2e-3), continued_rates=(1e-4, 2e-4),
    preference=((0.1, 1e-4), (0.5, 1e-4)),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    student: str = ""
    limit: int = 5


RECIPE = SimpleNamespace(
    NAME="toy",
    Options=Options,
    DESIGN=DESIGN,
    QUICK=replace(DESIGN, rows=("sft", "dpo_pairs", "apo"), undertrained=True),
)


def _config(**more: Any) -> Any:
    return configure(RECIPE, Path("release"), Path("out"), **more)


def test_every_completion_is_seen_equally_often_across_the_rows_of_a_stage() -> None:
    seen = {r.name: epochs(DESIGN, r) for r in _config().rows}
    assert {seen[n] for n in ("sft", "sft_single")} == {4}
    assert {seen[n] for n in ALL if n not in ("sft", "sft_single")} == {2}
    assert all(epochs(DESIGN, r, trial=True) == epochs(DESIGN, r) / 2 for r in _config().rows)
    assert epochs(DESIGN, rows.get("base")) == 0


def test_every_row_tries_equally_many_settings_on_the_same_two_seeds() -> None:
    config = _config()
    for row in config.rows:
        found = trials(config, row)
        assert Counter(t.seed for t in found) == {0: 2, 1: 2}
        assert len({(t.number, t.setting) for t in found}) == 2
    assert trials(config, rows.get("base")) == ()


def test_beta_is_tried_where_the_method_has_one() -> None:
    assert [c.beta for c in candidates(DESIGN, rows.get("apo"))] == [0.1, 0.5]
    assert [c.learning_rate for c in candidates(DESIGN, rows.get("sft"))] == [1e-3, 2e-3]
    assert [c.learning_rate for c in candidates(DESIGN, rows.get("sft_consensus"))] == [1e-4, 2e-4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fresh_rates": (1e-3,)},
        {"preference": ((0.1, 1e-4),) * 5, "fresh_rates": (1e-3,) * 5, "continued_rates": (1e-4,) * 5},
        {"epochs": 0},
        {"trial_length": 1.5},
        {"trial_seeds": 0},
        {"baseline": "ppo"},
    ],
)  # fmt: skip
def test_a_design_that_favours_a_row_or_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(DESIGN, **wrong)


def test_the_row_that_needs_the_costs_of_the_others_comes_last_in_each_seed() -> None:
    jobs = plan(_config(seeds=2))
    assert [j.index for j in jobs] == list(range(16))
    for seed in (0, 1):
        mine = [j.row.name for j in jobs if j.seed == seed]
        assert mine[-1] == "sft_long"
        assert sorted(mine) == sorted(ALL)
    assert len({j.name for j in plan(_config(seeds=3, fractions=(0.1, 1.0)))}) == 48


def test_one_command_a_job_that_repeats_every_choice(tmp_path: Path) -> None:
    model, own = tmp_path / "model", tmp_path / "own rows" / "own.toml"
    model.mkdir()
    own.parent.mkdir()
    own.write_text('sentence = "Mine."\nmethod = "sft"\n')
    config = _config(
        names=("sft", str(own)),
        added=(f"mine={model}",),
        seeds=2,
        fractions=(0.5,),
        teachers=("gpt-5", "grok-4"),
        options={"student": "s"},
    )
    lines = commands(config, [("--truth", "world/truth")])
    assert len(lines) == 6
    words = shlex.split(lines[4])
    assert words[-1] == "student=s"
    assert words[:3] == ["cxr-max", "bench", "--recipe"]
    for option, value in {
        "--rows": f"sft,{own}", "--add": f"mine={model}", "--seeds": "2", "--fraction": "0.5",
        "--teachers": "gpt-5,grok-4", "--truth": "world/truth", "--only": "4",
    }.items():  # fmt: skip
        assert words[words.index(option) + 1] == value


def test_the_commands_name_the_recipe_as_it_was_named_and_repeat_the_draws() -> None:
    lines = commands(_config(spelled="my/toy.py", draws=50))
    assert all("--recipe my/toy.py" in line and "--draws 50" in line for line in lines)
    assert "--draws" not in commands(_config())[0]


def test_options_are_those_of_the_recipe_and_none_that_the_benchmark_decides() -> None:
    assert given(RECIPE, DESIGN, {"limit": "7", "student": "s"}) == {"limit": 7, "student": "s"}
    for wrong, error in (
        ({"bogus": "1"}, "option of toy"), ({"limit": "many"}, "allowed: int"), ({"max_steps": "3"}, "equal terms"),
        ({"method": "dpo"}, "equal terms"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=error):
            _config(options=wrong)
    with pytest.raises(UsageError, match="equal terms"):
        given(RECIPE, replace(DESIGN, options={"student": "x"}), {"student": "s"})


def test_a_row_tries_settings_of_its_own_as_many_as_the_others(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    begin = 'sentence = "M."\nmethod = "apo"\npositives = "consensus"\nconsensus = "vote"\n'
    path.write_text(begin + "tries = [[5.0, 1e-4], [2, 1e-5]]\n")
    config = _config(names=("sft", str(path)))
    assert [(s.beta, s.learning_rate) for s in candidates(DESIGN, config.rows[1])] == [(5.0, 1e-4), (2.0, 1e-5)]
    quick = replace(DESIGN, preference=((0.1, 1e-4),), fresh_rates=(1e-3,), continued_rates=(1e-4,), undertrained=True)
    assert [s.beta for s in candidates(quick, config.rows[1])] == [5.0]
    path.write_text(begin + "tries = [[5.0, 1e-4]]\n")
    with pytest.raises(UsageError, match="tries 1 settings"):
        _config(names=("sft", str(path)))


def test_the_longest_row_needs_one_to_match() -> None:
    for names in (("sft_long",), ("sft", "sft_long"), ("sft", "sft_single", "sft_long")):
        with pytest.raises(UsageError, match="name the rows it is to match"):
            _config(names=names)


def test_quick_is_one_seed_of_the_quick_design() -> None:
    config = _config(quick=True, seeds=5)
    assert config.seeds == 1
    assert [r.name for r in config.rows] == ["sft", "dpo_pairs", "apo"]
    assert config.design.undertrained
    assert all("--quick" in line for line in commands(config))


def test_teachers_by_number_in_the_papers_order_or_by_name() -> None:
    assert some_teachers("2") == ("sonnet-4", "gemini-2.5")
    assert some_teachers("grok, GPT-5-nano") == ("grok-4", "gpt-5")
    assert some_teachers("") == ()
    for wrong in ("1", "8", "gpt-5", "gpt-5,gpt-5"):
        with pytest.raises(UsageError, match="allowed: 2 to 7"):
            some_teachers(wrong)
    with pytest.raises(UnknownNameError):
        some_teachers("gpt-5,gpt-4o")


def test_fractions_are_read_from_text() -> None:
    assert shares("0.1,1") == (0.1, 1.0)
    with pytest.raises(UsageError, match="numbers above 0"):
        shares("half")


def test_what_cannot_be_planned_is_an_error() -> None:
    with pytest.raises(UsageError, match="no design"):
        configure(SimpleNamespace(NAME="plain"), Path("r"), Path("o"))
    with pytest.raises(UsageError, match="more than once"):
        _config(names=("sft", "apo", "apo"))
    with pytest.raises(UnknownNameError, match="baseline"):
        _config(names=("apo", "dpo_pairs"))
    for wrong in (
        {"seeds": 0},
        {"fractions": (0.0,)},
        {"fractions": ()},
        {"draws": 0},
    ):
        with pytest.raises(UsageError):
            _config(**wrong)


def test_rows_start_from_one_sft_even_when_it_is_not_shown() -> None:
    config = replace(_config(), rows=(rows.get("apo"),))
    assert (sft_of(config).method, sft_of(config).start) == ("sft", "fresh")
