"""The recipe of the synthetic benchmark: what is fixed in it, and the command that plans it."""

import dataclasses
import hashlib
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_max import data, evaluation, synth
from cxr_max.cli import application
from cxr_max.errors import UsageError
from cxr_max.evaluation import rows
from cxr_max.evaluation.bench import results, tables
from cxr_max.evaluation.bench.config import candidates
from cxr_max.recipes import synthetic_bench
from tests import tiny_world

SEARCHED = "c32f83f28cf6ed745d59a8266708432d89b2468cb10a57c8fa75c804413c369c"
"""SHA-256 of `synthetic_bench.toml` as the search left it: the file is never touched afterwards."""


def test_what_is_decided_on_stands_in_the_recipe() -> None:
    design = synthetic_bench.DESIGN
    assert design.primary.score == "macro_accuracy"
    assert (design.primary.task, design.chosen_by.task) == ("diagnosis_test", "diagnosis_validate")
    assert design.second.score == "side_accuracy"
    assert set(design.rows) == set(rows.own())
    assert {len(candidates(design, rows.get(n))) for n in design.rows if n != "base"} == {4}
    assert ("apo", "dpo_pairs") in design.contrasts


def test_quick_is_marked_and_smaller() -> None:
    assert synthetic_bench.QUICK.undertrained
    assert synthetic_bench.QUICK.rows == ("sft", "dpo_pairs", "apo")
    sizes = synthetic_bench.SIZES
    assert all(sizes["small"][k] < sizes["full"][k] for k in ("hidden", "layers", "side", "limit"))


def test_the_difficulty_is_read_from_its_file_and_never_touched_after_its_search() -> None:
    found = synthetic_bench.difficulty()
    world = synthetic_bench.world()
    assert (world.contrast, world.noise, world.subtlety) == (found["contrast"], found["noise"], found["subtlety"])
    assert world.error_correlation == 0.5
    assert found["status"] in ("set", "not reached")
    best = max(found["tried"], key=lambda t: t["mean"])
    assert [best[k] for k in ("contrast", "noise", "subtlety")] == [world.contrast, world.noise, world.subtlety]
    content = files("cxr_max.recipes").joinpath("synthetic_bench.toml").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SEARCHED


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_world.Tiny:
    return tiny_world.make(tmp_path_factory.mktemp("synthetic_bench"))


def test_the_stages_are_built_for_either_size_and_start(tiny: tiny_world.Tiny, tmp_path: Path) -> None:
    first, *_ = synthetic_bench.build(release=tiny.release, out=tmp_path, mimic_root=tiny.root)
    assert first.template == "diagnose"
    assert first.limit == synthetic_bench.SIZES["full"]["limit"]
    assert first.model.scratch is not None
    started, *_ = synthetic_bench.build(release=tiny.release, out=tmp_path, mimic_root=tiny.root, student="folder")
    assert (started.model.pretrained, started.model.scratch) == ("folder", None)
    with pytest.raises(UsageError, match="full"):
        synthetic_bench.Options(size="huge")


def test_the_plan_is_printed_one_command_a_job(tiny: tiny_world.Tiny, tmp_path: Path) -> None:
    begin = ["bench", "--recipe", "synthetic_bench", "--release", str(tiny.release), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(application(), [*begin, "--mimic-root", str(tiny.root), "--seeds", "2", "--plan"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert len(lines) == 2 * len(synthetic_bench.ROWS)
    assert all(shlex.split(line)[-2:] == ["--only", str(i)] for i, line in enumerate(lines))
    assert not (tmp_path / "out").exists()
    again = ["--truth", str(tmp_path / "truth"), "--settings-from", str(tmp_path / "first")]
    repeated = CliRunner().invoke(application(), [*begin, "--mimic-root", str(tiny.root), *again, "--plan"])
    assert all(shlex.split(line)[-6:-2] == again for line in repeated.output.splitlines())
    other = CliRunner().invoke(application(), ["bench", "--recipe", "tiny_cpu", *begin[3:], "--plan"])
    assert isinstance(other.exception, UsageError)
    assert "no design" in str(other.exception)


@pytest.mark.parametrize("columns", ["80", "300"])
def test_the_table_is_readable_in_a_narrow_terminal_and_markup_of_a_row_is_text(
    tiny: tiny_world.Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    kept = Path(__file__).parents[2] / "benchmarks" / "results" / "synthetic_bench" / "0.5" / "results"
    found = [results.read(kept / f"synthetic-{row}-seed0.json") for row in ("sft", "apo")]
    found = [dataclasses.replace(r, sentence=f"{r.sentence} [/red]") for r in found]

    def run(config: object, *, only: int | None, tell: Callable[[str], None]) -> list[results.Result]:
        tell("apo-seed0: a line with [/red] in it")
        return found

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(evaluation.bench, "run", run, raising=False)
    begin = ["bench", "--recipe", "synthetic_bench", "--release", str(tiny.release), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(
        application(), [*begin, "--rows", "sft,apo", "--draws", "20"], env={"COLUMNS": columns}, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "a line with [/red] in it" in done.output
    value = tables.summarise(found, synthetic_bench.DESIGN, draws=20)[0]["rows"][0]["estimates"]
    assert f"{value[synthetic_bench.PRIMARY.title]['value']:.3f}" in done.output


@pytest.mark.filterwarnings("ignore:the likelihood of the chosen trajectories sinks")
def test_quick_runs_the_whole_pipeline_and_says_that_it_is_undertrained(tmp_path: Path) -> None:
    synth.write_world(synthetic_bench.world(subjects=40, seed=3), tmp_path / "world")
    data.build([tmp_path / "world" / "raw"], tmp_path / "release")
    out, world = tmp_path / "out", tmp_path / "world"
    command = [
        "bench",
        "--recipe",
        "synthetic_bench",
        "--quick",
        "--release",
        str(tmp_path / "release"),
        "--out",
        str(out),
    ]
    command += ["--mimic-root", str(world / "mimic"), "--truth", str(world / "truth"), "--draws", "50"]
    done = CliRunner().invoke(application(), command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert tables.UNDERTRAINED in done.output
    assert sorted(p.name for p in (out / "results").iterdir()) == [
        f"synthetic-quick-{row}-seed0.json" for row in ("apo", "dpo_pairs", "sft")
    ]
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "synthetic" in text.splitlines()[0]
    assert all(f"| {row} | 1 |" in text for row in ("sft", "dpo_pairs", "apo"))
    assert (out / "table.png").is_file()
    before = {p: p.stat().st_mtime_ns for p in (out / "results").iterdir()}
    assert CliRunner().invoke(application(), command, catch_exceptions=False).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "results").iterdir()} == before
