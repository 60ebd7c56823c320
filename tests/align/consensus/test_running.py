"""From a release to its next version: tables, counts, versions, exports, the command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from typer.testing import CliRunner

import cxr_max
from cxr_max import data, drift
from cxr_max.align import consensus
from cxr_max.align.consensus import in_context, vote
from cxr_max.align.consensus._options import hyper_of
from cxr_max.align.negatives import Choice
from cxr_max.cli import application
from cxr_max.data.export import FORMATS, ExportConfig, export
from cxr_max.errors import CheckFailedError, DataError, RestrictedDataError, UnknownNameError, UsageError
from tests.data import toy

VOTE = "vote"
MAIN = "from cxr_max.cli import main; main()"


def config(release: data.Release, out: Path, **more: Any) -> consensus.ConsensusConfig:
    return consensus.ConsensusConfig(
        **{"release": release.path, "strategy": VOTE, "out": out, "version": "1.1.0"} | more
    )


@pytest.fixture(scope="session")
def voted(release: data.Release) -> Any:
    return consensus.run(config(release, release.path.parent / "voted"))


def rows(release: data.Release, name: str) -> pl.DataFrame:
    return release.scan(name).collect().sort("instance_id")


def test_some_teachers_alone_vote_and_are_negatives(release: data.Release, tmp_path: Path) -> None:
    known = sorted(release.scan("trajectories").select("teacher").unique().collect()["teacher"])
    chosen = tuple(known[:3])
    made = consensus.run(config(release, tmp_path / "few", teachers=tuple(reversed(chosen))))
    table, preferences = rows(made.release, "consensus"), rows(made.release, "preferences")
    assert {t for row in table["supported_by"] for t in row} <= set(chosen)
    assert {r["teacher"] for row in preferences["rejected"].to_list() for r in row} == set(chosen)
    assert json.loads(table["recipe"][0])["teachers"] == list(chosen)
    # A subset votes as a release of it alone would: every clause is supported by two of three.
    assert all(len({s["teacher"] for s in row}) >= 2 for row in table["support"].to_list())
    weights = [sum(w) / len(w) for w in preferences["weights"].to_list()]
    assert weights == pytest.approx([1.0] * len(weights), abs=1e-5)
    assert consensus.run(config(release, tmp_path / "few", teachers=chosen)).resumed
    with pytest.raises(UsageError, match="of another configuration: teachers"):
        consensus.run(config(release, tmp_path / "few"))


def test_teachers_who_are_not_there_and_a_single_one_are_errors(release: data.Release, tmp_path: Path) -> None:
    known = sorted(release.scan("trajectories").select("teacher").unique().collect()["teacher"])
    with pytest.raises(UnknownNameError, match="teacher of the release 'nobody'"):
        consensus.run(config(release, tmp_path / "out", teachers=(known[0], "nobody")))
    with pytest.raises(UsageError, match="one voice is no consensus"):
        consensus.run(config(release, tmp_path / "out", teachers=(known[0],)))


def test_the_next_minor_version_with_both_tables(voted: Any, release: data.Release) -> None:
    new = voted.release
    assert new.verify().ok
    assert new.tables == (*release.tables, "consensus", "preferences")
    made = rows(new, "consensus")
    assert len(made) == voted.consensus == voted.instances - sum(voted.left_out.values())
    assert made["trajectory"].str.strip_chars().str.len_chars().min() > 0
    for row in made.iter_rows(named=True):
        teachers = {s["teacher"] for s in row["support"]}
        assert row["supported_by"] == sorted(teachers)
        assert all(row["trajectory"][s["start"] : s["end"]].endswith((".", "!", "?")) for s in row["support"])
    recipe = json.loads(made["recipe"][0])
    assert recipe["release"] == {"version": "1.0.0", "hash": release.manifest["release_hash"]}
    assert recipe["settings"] == {"k": None, "level": "side"}
    # The recipe is of class index: it may be public.
    assert str(release.path) not in made["recipe"][0]
    assert not any(i in made["recipe"][0] for i in made["instance_id"])


def test_preferences_hold_every_other_text_with_teacher_generation_and_weight(voted: Any, release: Any) -> None:
    trajectories = rows(release, "trajectories")
    options = drift.Config()
    weights = drift.weights.compute(drift.encode(release, options), options, "agreement")
    weight = {(i, t): w for i, t, w in weights.select("instance_id", "teacher", "weight").iter_rows()}
    chosen = dict(rows(voted.release, "consensus").select("instance_id", "trajectory").iter_rows())
    for row in rows(voted.release, "preferences").iter_rows(named=True):
        own = trajectories.filter(pl.col("instance_id") == row["instance_id"]).sort("teacher")
        assert row["chosen"] == chosen[row["instance_id"]]
        assert row["prompt"] == own["prompt"][0]
        assert [r["teacher"] for r in row["rejected"]] == own["teacher"].to_list()
        assert [r["trajectory"] for r in row["rejected"]] == own["trajectory"].to_list()
        assert {r["generation"] for r in row["rejected"]} == {0}
        assert row["weights"] == [weight[row["instance_id"], t] for t in own["teacher"]]


def test_the_same_bytes_again_also_with_more_processes(voted: Any, release: Any, tmp_path: Path) -> None:
    again = consensus.run(config(release, tmp_path / "again", jobs=2))
    for name in ("consensus", "preferences"):
        assert again.release.manifest["tables"][name] == voted.release.manifest["tables"][name]
    found = consensus.run(config(release, tmp_path / "again"))
    assert found.resumed
    assert (found.consensus, found.preferences) == (voted.consensus, voted.preferences)
    with pytest.raises(UsageError, match=r"settings\.k None, asked: 5") as caught:
        consensus.run(config(release, tmp_path / "again", hyper={"k": 5}))
    assert "--overwrite" in str(caught.value)
    assert (
        consensus.run(config(release, tmp_path / "again", hyper={"k": 5}, overwrite=True)).consensus < voted.consensus
    )


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["k=5", "--seed", "5"], {"hyper": {"k": 5.0}, "seed": 5}),
        (
            ["--negatives", "same_diagnoses", "--weights", "none", "--seed", "5"],
            {"negatives": Choice("same_diagnoses"), "seed": 5},
        ),
        (
            ["level=concept", "--split", "val", "--limit", "9", "--jobs", "2"],
            {"hyper": {"level": "concept"}, "split": "validate", "limit": 9},
        ),
        (["--negatives", "top_k", "--seed", "5"], {"negatives": Choice("top_k", "drift", seed=5), "seed": 5}),
    ],
    ids=["settings", "drawn negatives", "part of the release", "negatives by score"],
)
def test_what_the_shell_made_is_finished_for_the_same_configuration(
    words: list[str], more: dict[str, Any], release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder by a relative path from the shell, by an absolute one from Python; nothing is written again."""
    monkeypatch.chdir(tmp_path)
    words = ["consensus", str(release.path), *words, "--strategy", "vote", "--out", "made", "--version", "1.1.0"]
    first = CliRunner().invoke(application(), words, catch_exceptions=False)
    assert first.exit_code == 0
    assert "it was there already" not in first.output
    before = (tmp_path / "made" / "manifest.json").read_bytes()
    # A kill between the release and the end of the work leaves these.
    left = [tmp_path / ".made.consensus", tmp_path / ".made.abcdefgh.partial"]
    for folder in left:
        folder.mkdir()
    made = consensus.run(config(release, tmp_path / "made", **more))
    assert made.resumed
    assert (tmp_path / "made" / "manifest.json").read_bytes() == before
    assert not any(folder.exists() for folder in left)
    assert "it was there already" in CliRunner().invoke(application(), words, catch_exceptions=False).output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"hyper": {"level": "concept"}}, r"settings\.level 'side', asked: 'concept'"),
        ({"negatives": Choice()}, r"negatives\.weights 'drift', asked: 'none'"),
        ({"negatives": Choice("top_k", "drift", k=2)}, r"negatives\.k None, asked: 2; negatives\.kind 'all'"),
        ({"seed": 7}, "seed 0, asked: 7"),
        ({"split": "train", "limit": 3}, "limit None, asked: 3; split None, asked: 'train'"),
        ({"version": "1.2.0"}, "version '1.1.0', asked: '1.2.0'"),
    ],
)
def test_another_configuration_says_what_differs(more: dict[str, Any], said: str, voted: Any, release: Any) -> None:
    with pytest.raises(UsageError, match=f"of another configuration: {said}") as caught:
        consensus.run(config(release, voted.folder, **more))
    assert "--overwrite" in str(caught.value)


def test_settings_come_as_what_they_are_declared() -> None:
    made = hyper_of(in_context, {"temperature": 1, "batch": 4.0})
    assert (type(made.temperature), type(made.batch)) == (float, int)
    assert hyper_of(vote, {"k": None}).k is None
    for name, value in (("temperature", "warm"), ("images", 1), ("batch", 1.5), ("max_tokens", True)):
        with pytest.raises(UsageError, match=f"{name}={value!r}; allowed"):
            hyper_of(in_context, {name: value})


def test_it_loads_as_a_dataset(voted: Any) -> None:
    loaded = datasets.load_dataset("cxr-max", "preferences", release=str(voted.folder))
    n = sum(len(part) for part in loaded.values())
    assert n == voted.preferences
    row = loaded["train"][0]
    assert set(row) >= {"prompt", "chosen", "rejected", "weights", "strategy"}
    assert row["rejected"][0].keys() == {"teacher", "generation", "trajectory"}
    made = cxr_max.load_dataset("consensus", release=voted.folder, split="train")
    assert made[0]["support"][0].keys() == {"start", "end", "teacher"}


@pytest.mark.parametrize("name", FORMATS)
def test_it_exports_to_pairs(name: str, voted: Any, tmp_path: Path) -> None:
    out = tmp_path / {"csv": "x.csv", "trl": "x.parquet"}.get(name, "x.jsonl")
    done = export(voted.release, ExportConfig(name, out))
    assert done.groups == voted.preferences
    assert done.rows == 7 * voted.preferences


def test_a_second_strategy_stands_beside_the_first(voted: Any, tmp_path: Path) -> None:
    other = tmp_path / "first.py"
    other.write_text(
        '"""The first teacher is right."""\n'
        "from dataclasses import dataclass\n"
        "from cxr_max.align.consensus import Consensus\n"
        'NAME = "first"\n\n@dataclass(frozen=True)\nclass Hyper:\n    """None."""\n\n'
        "def write(panels, hyper, work):\n"
        "    for p in panels:\n        yield Consensus(p.instance_id, p.answers[0].text, ())\n"
    )
    both = consensus.run(config(voted.release, tmp_path / "both", strategy=str(other), version="1.2.0"))
    assert both.release.verify().ok
    made = rows(both.release, "consensus")
    assert dict(made["strategy"].value_counts().iter_rows()) == {"vote": voted.consensus, "first": both.consensus}
    assert both.unsupported == both.consensus
    # The chosen text is itself a trajectory, and no negative of itself.
    assert both.negatives_dropped == {"same text as the positive": both.preferences}
    out = tmp_path / "x.csv"
    with pytest.raises(UsageError, match="were made by"):
        export(both.release, ExportConfig("csv", out))
    assert export(both.release, ExportConfig("csv", out, strategy="first")).groups == both.preferences
    with pytest.raises(CheckFailedError, match="major is needed"):
        consensus.run(config(both.release, tmp_path / "c", version="1.3.0"))


@pytest.mark.parametrize(
    ("choice", "less"),
    [
        (Choice("no_refusals"), True),
        (Choice("drifting", weights="drift"), True),
        (Choice("top_k", weights="count", k=2), True),
        (Choice("same_diagnoses"), False),
    ],
)
def test_kinds_of_negatives(choice: Choice, less: bool, release: Any, tmp_path: Path) -> None:
    made = consensus.run(config(release, tmp_path / "r", negatives=choice))
    assert made.release.verify().ok
    each = rows(made.release, "preferences")["rejected"].list.len()
    assert each.min() > 0
    assert bool(made.negatives_dropped) is less
    if choice.kind == "top_k":
        assert each.max() == 2


def test_splits_and_limits(release: Any, tmp_path: Path) -> None:
    train = consensus.run(config(release, tmp_path / "a", split="train"))
    splits = dict(rows(release, "instances").select("instance_id", "split").iter_rows())
    assert {splits[i] for i in rows(train.release, "consensus")["instance_id"]} == {"train"}
    assert consensus.run(config(release, tmp_path / "b", limit=3)).instances == 3


def test_generations_and_teachers_that_lack_instances(tmp_path: Path) -> None:
    left, no = "There is a left pleural effusion.", "No pleural effusion is seen."
    records = []
    for row in toy.rows(4, ["gpt-5", "grok-4", "moonshot"]):
        for g, text in enumerate((left, left, no)):
            records.append({**row, "generation": g, "response": f"{text} Number {g} of {row['teacher']}."})
    # One image is left with one teacher, another with two.
    names = [toy.image(0), toy.image(1)]
    records = [r for r in records if r["image"] != names[0] or r["teacher"] == "gpt-5"]
    records = [r for r in records if r["image"] != names[1] or r["teacher"] != "moonshot"]
    toy.write_jsonl(tmp_path / "raw" / "a.jsonl", records)
    built = data.build([tmp_path / "raw"], tmp_path / "r", "1.0.0").release
    made = consensus.run(config(built, tmp_path / "s"))
    assert made.release.verify().ok
    assert made.left_out == {"fewer than two teachers have a text": 1}
    assert rows(made.release, "consensus")["trajectory"].to_list() == [left] * 3
    counts = sorted(rows(made.release, "preferences")["rejected"].list.len().to_list())
    assert counts == [6, 9, 9]


def test_all_refusals_write_nothing(tmp_path: Path) -> None:
    records = [{**r, "response": f"I cannot interpret this image. {i}"} for i, r in enumerate(toy.rows(3))]
    toy.write_jsonl(tmp_path / "raw" / "a.jsonl", records)
    built = data.build([tmp_path / "raw"], tmp_path / "r", "1.0.0").release
    with pytest.raises(DataError, match="no finding has enough support"):
        consensus.run(config(built, tmp_path / "s"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"strategy": "median"}, UnknownNameError, "in_context, vote"),
        ({"hyper": {"quorum": 4}}, UsageError, "known: k, level"),
        ({"hyper": {"k": 1}}, UsageError, "2 and above"),
        ({"version": "1.0.1"}, CheckFailedError, "1.1.0"),
        ({"version": "0.9.0"}, UsageError, "comes before"),
        ({"split": "holdout"}, UnknownNameError, "split"),
        ({"limit": 0}, UsageError, "1 and above"),
        ({"negatives": Choice(weights="table")}, UsageError, "made here"),
        ({"negatives": Choice("same_diagnoses", seed=3)}, UsageError, "one seed"),
        ({"strategy": "in_context"}, UsageError, "--model"),
        ({"strategy": "in_context", "model": "no/such/folder"}, UsageError, "config.json"),
        ({"strategy": "in_context", "model": "http://127.0.0.1:9/v1"}, UsageError, "#SERVED_NAME"),
        ({"strategy": "in_context", "model": "http://10.0.0.1/v1#m"}, RestrictedDataError, "retention"),
        ({"strategy": "in_context", "model": "http://127.0.0.1:9/v1#m"}, UsageError, "images=false"),
        ({"strategy": "in_context", "hyper": {"top_p": 0}}, UsageError, "top_p"),
    ],
)
def test_errors_before_any_work(
    more: dict[str, Any], error: type[Exception], said: str, release: Any, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        consensus.run(config(release, tmp_path / "r", **more))
    assert list(tmp_path.iterdir()) == []


def test_real_data_stay_out_of_git(release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError):
        consensus.run(config(release, tmp_path / "r"))
    made = consensus.run(config(release, tmp_path.parent / f"{tmp_path.name}-outside"))
    assert oct(made.folder.stat().st_mode)[-3:] == "700"
    assert (made.folder / "RESTRICTED.md").is_file()


def test_command(release: Any, tmp_path: Path) -> None:
    out = tmp_path / "new"
    command = [sys.executable, "-c", MAIN, "consensus", str(release.path), "k=5", "--strategy", "vote"]
    command += ["--out", str(out), "--version", "1.1.0"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["version"] == "1.1.0"
    assert result["consensus"] + sum(result["left_out"].values()) == result["instances"] == 24
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "it was there already" in again.stdout
    wrong = subprocess.run([*command, "--retention", "x"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "PROVIDER;DATE;WORDING" in wrong.stderr
