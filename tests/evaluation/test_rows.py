"""Rows as data: ours are complete, those of users come from files, folders and packages, bad ones are refused."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.evaluation import rows

OURS = (
    "apo", "apo_anchored", "apo_in_context", "apo_random_neg", "apo_weighted", "base", "dpo_pairs",
    "dpo_pairs_anchored", "sft", "sft_consensus", "sft_long", "sft_single",
)  # fmt: skip


def test_our_rows_are_those_of_the_benchmark_and_each_says_what_it_is() -> None:
    assert rows.own() == OURS
    for name in OURS:
        row = rows.get(name)
        assert row.name == name
        assert row.sentence.endswith(".")
        assert row.trained == (name != "base")


def test_rows_differ_from_apo_in_one_thing_each() -> None:
    apo = vars(rows.get("apo"))
    changed = {
        "apo_weighted": {"weights"},
        "apo_random_neg": {"negatives"},
        "dpo_pairs": {"method"},
        "sft_consensus": {"method"},
        "apo_anchored": {"hyper"},
        "dpo_pairs_anchored": {"hyper", "method"},
    }
    assert rows.get("apo_anchored").hyper == rows.get("dpo_pairs_anchored").hyper
    for name, fields in changed.items():
        other = vars(rows.get(name))
        assert {k for k in apo if apo[k] != other[k]} - {"name", "sentence"} == fields


def test_a_row_from_a_file_is_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'sentence = "Mine."\nmethod = "apo"\npositives = "consensus"\nconsensus = "vote"\nhyper = {beta = 0.2}\n'
    )
    row = rows.get(str(path))
    assert (row.name, row.hyper, row.source) == ("mine", {"beta": 0.2}, path)
    with pytest.raises(MissingFileError):
        rows.get(str(tmp_path / "none.toml"))


def test_a_row_from_a_package(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "row.toml").write_text('sentence = "Theirs."\nmethod = "sft"\n')
    (tmp_path / "their_package.py").write_text(
        "from pathlib import Path\nROW = Path(__file__).with_name('row.toml')\nWRONG = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [
        EntryPoint("theirs", "their_package:ROW", rows.GROUP),
        EntryPoint("wrong", "their_package:WRONG", rows.GROUP),
    ]
    monkeypatch.setattr(rows.importlib.metadata, "entry_points", lambda group: found)
    assert rows.get("theirs").sentence == "Theirs."
    assert rows.names() == (*OURS, "theirs", "wrong")
    with pytest.raises(DataError, match="read_text"):
        rows.get("wrong")


def test_a_model_trained_elsewhere(tmp_path: Path) -> None:
    row = rows.added(f"mine={tmp_path}")
    assert (row.name, row.folder, row.trained) == ("mine", tmp_path, False)
    for bad in ("mine", "=x", f"apo={tmp_path}"):
        with pytest.raises(UsageError):
            rows.added(bad)
    with pytest.raises(MissingFileError):
        rows.added(f"mine={tmp_path / 'none'}")


PREFERENCE = 'sentence = "x"\nmethod = "apo"\npositives = "consensus"\nconsensus = "vote"\n'


@pytest.mark.parametrize("name", ["", ".", "..", "../../out", "a/b", "a|b", "-x", "x" * 65, "a b", "[red]", "a\nb"])
def test_a_name_that_no_folder_or_table_can_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        rows.added(f"{name}={tmp_path}")


def test_a_file_neither_takes_the_name_of_our_rows_nor_escapes(tmp_path: Path) -> None:
    for name in ("apo.toml", "a|b.toml"):
        (tmp_path / name).write_text('sentence = "Mine."\nmethod = "sft"\n')
        with pytest.raises(UsageError, match="row"):
            rows.get(str(tmp_path / name))
    (tmp_path / "latin.toml").write_bytes('sentence = "Größe"\nmethod = "sft"\n'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        rows.get(str(tmp_path / "latin.toml"))


def test_an_unknown_strategy_is_named_before_anything_is_trained() -> None:
    with pytest.raises(UnknownNameError, match="vote"):
        rows.parse("mine", PREFERENCE.replace('"vote"', '"votes"'))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sentence = ", "no TOML"),
        ('sentence = "x"', "method is missing"),
        ('method = "sft"', "sentence is missing"),
        ('sentence = "x"\nmethod = "sft"\nlr = 1', "no field lr"),
        ('sentence = "x"\nmethod = "sft"\nhyper = 3', "hyper is int"),
        ('sentence = "x"\nmethod = "sft"\nteachers = [1]', "teachers is list"),
        ('sentence = "x"\nmethod = "sft"\nteachers = "worst"', "allowed: all, best"),
        ('sentence = "x"\nmethod = "sft"\nstart = "apo"', "allowed: fresh, pretrained, sft"),
        ('sentence = "x"\nmethod = "sft"\nbudget = "much"', "allowed: once, longest"),
        ('sentence = "x"\nmethod = "sft"\nstart = "fresh"\nbudget = "longest"', "for method 'sft' from start 'sft'"),
        ('sentence = "x"\nmethod = "apo"\nnegatives = "some"', "negatives is 'some'"),
        ('sentence = "x"\nmethod = "apo"\nweights = "w"', "weights is 'w'"),
        ('sentence = "x"\nmethod = "apo"\npositives = "consensus"', "one needs the other"),
        ('sentence = "x"\nmethod = "apo"\nhyper = {gamma = 1}', "no setting gamma"),
        ('sentence = "x"\nmethod = "sft"\nneeds = ["gpu"]', "allowed: pretrained"),
        ('sentence = "x"\nmethod = "sft"\nteachers = []', "teachers is empty"),
        ('sentence = "x"\nmethod = "apo"', "give positives"),
        (PREFERENCE + "hyper = {nll_weight = 'huge'}", "settings of method apo"),
        (PREFERENCE + "hyper = {beta = -1.0}", "settings of method apo"),
        (PREFERENCE + "tries = [0.1]", "pairs"),
        (PREFERENCE + "tries = [[0.1, 0.0]]", "above 0"),
        (PREFERENCE + "tries = [[0.1, true]]", "above 0"),
        (PREFERENCE + "tries = [[0.1, 1e-4]]\nhyper = {beta = 0.2}", "one of them"),
        ('sentence = "x"\nmethod = "sft"\ntries = [[0.1, 1e-4]]', "learning rates"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_refused_with_what_is_allowed(text: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        rows.parse("bad", text)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UnknownNameError, match="known: apo, apo_anchored, apo_in_context"):
        rows.get("ppo")
    with pytest.raises(UnknownNameError, match="unknown method"):
        rows.parse("bad", 'sentence = "x"\nmethod = "ppo"')
    with pytest.raises(UnknownNameError, match="unknown teacher"):
        rows.parse("bad", 'sentence = "x"\nmethod = "sft"\nteachers = ["gpt-7"]')
