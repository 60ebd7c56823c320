"""R2Gen's vocabulary: which words stay, where they come from, what it does to scores and signatures."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxr_max import evaluation
from cxr_max.cli import application
from cxr_max.errors import CxrMaxError, DataError, MissingFileError, UsageError
from cxr_max.evaluation import metrics, tasks, vocabulary
from cxr_max.evaluation.predictors.random import Random
from cxr_max.evaluation.text import UNKNOWN, clean, prepare
from cxr_max.evaluation.types import Context
from cxr_max.roots import Root

TASK = "report_generation_r2gen"
REPORTS = ["1. Heart normal. Lungs clear.", "Heart normal. No edema.", "Heart large."]
"""heart 3, normal 2, "." 3 + 2 = 5, the others once."""


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("CXR_MAX_METEOR_JAR", str(tmp_path_factory.getbasetemp() / "absent.jar"))


def context(world: Path, **options: str) -> Context:
    return Context((Root("mimic-cxr", world / "mimic", "option"),), 12, options=options)


def annotation(folder: Path) -> Path:
    path = folder / "annotation.json"
    path.write_text(json.dumps({"train": [{"report": r} for r in REPORTS], "test": [{"report": "Edema. Edema."}]}))
    return path


def test_golden_words_that_stand_often_enough_in_training_reports(tmp_path: Path) -> None:
    options = {"vocabulary": str(annotation(tmp_path)), "min_count": "2"}
    kept = vocabulary.of(options, ())
    assert kept is not None
    assert kept.words == {"heart", "normal", "."}, "words of the test split do not count"
    assert str(kept) == f"vocabulary {kept.digest} of 3 words"
    # Both sides lose what is rare; the reference would be cut behind 99 words, the answer never.
    said, true = prepare(["Heart large. No edema."], ["Heart normal. Edema."], profile="r2gen", vocabulary=kept.words)
    assert said == [f"heart {UNKNOWN} . {UNKNOWN} {UNKNOWN} ."]
    assert true == [[f"heart normal . {UNKNOWN} ."]]
    # Heart, both full stops and one <unk> of three match.
    assert metrics.bleu(predictions=said, references=true, profile="raw")["bleu_1"] == pytest.approx(4 / 6)
    # Two different rare words are one <unk>.
    rare: dict[str, Any] = {"predictions": ["Heart small."], "references": ["Heart large."], "profile": "r2gen"}
    assert metrics.bleu(**rare, vocabulary=kept.words)["bleu_1"] == pytest.approx(1.0)
    assert metrics.bleu(**rare)["bleu_1"] == pytest.approx(2 / 3)


def test_the_train_split_counts_a_report_once_an_image(world: Path) -> None:
    from cxr_max import mimic

    kept = vocabulary.of({"vocabulary": "train"}, (world / "mimic",))
    assert kept is not None
    root = mimic.open_root(world / "mimic")
    counts: Counter[str] = Counter()
    for row in root.splits().collect().iter_rows(named=True):
        if row["split"] == "train":
            subject, study = str(row["subject_id"]), row["study_id"]
            path = world / "mimic" / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}.txt"
            counts.update(clean(mimic.parse_report(path.read_text()).get("findings", "") or "").split())
    # A report without FINDINGS leaves the full stop that `clean` ends with.
    assert {w for w, n in counts.items() if n >= 10} == kept.words
    assert any(n < 10 for n in counts.values())


def test_scores_and_signatures_know_the_vocabulary(world: Path, tmp_path: Path) -> None:
    given = context(world, vocabulary="train", min_count="40")
    config = evaluation.EvalConfig((TASK,), tmp_path / "run", given)
    evaluation.run(config, lambda: Copies(world))
    kept = vocabulary.of(given.options, (world / "mimic",))
    rows = graded(config.out)
    assert f"|profile r2gen, {kept}|section findings|tokens white space|" in rows["bleu_1", "r2gen"]["signature"]
    assert "|profile clean|" in rows["bleu_1", "clean"]["signature"]
    plain = graded(config.out, options={})
    assert "|profile r2gen|" in plain["bleu_1", "r2gen"]["signature"]
    assert rows["bleu_1", "r2gen"]["value"] > plain["bleu_1", "r2gen"]["value"]
    assert rows["bleu_1", "clean"] == plain["bleu_1", "clean"]
    assert graded(config.out) == rows, "without options the run's own hold"


def graded(out: Path, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["score"], r["group"]): evaluation.grading.finite(r) for r in evaluation.grade(out, draws=0, **more)}


class Copies:
    """Answers with the reference of another sample."""

    name, revision, settings, training = "copies", "1", {}, ()

    def __init__(self, world: Path) -> None:
        items = [i for i in tasks.get(TASK).load(context(world)) if i.asked]
        self.said = {i.sample.id: str(j.target) for i, j in zip(items, items[1:] + items[:1], strict=True)}

    def predict(self, samples: Any) -> Any:
        from cxr_max.evaluation.types import Output

        yield from (Output(self.said[s.id]) for s in samples)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"vocabulary": "absent.txt"}, MissingFileError, "no vocabulary"),
        ({"min_count": "3"}, UsageError, "without reports"),
        ({"vocabulary": "train", "min_count": "0"}, UsageError, "whole numbers from 1"),
        ({"vocabulary": "train", "min_count": "٣"}, UsageError, "whole numbers from 1"),
        ({"vocabulary": "train", "min_count": "1000000"}, DataError, "has no word"),
        ({"vocabularies": "train"}, UsageError, "min_count, vocabulary"),
    ],
)
def test_options_that_are_none_are_found_before_the_model(
    options: dict[str, str], error: type[CxrMaxError], said: str, world: Path, tmp_path: Path
) -> None:
    def never() -> Any:
        raise AssertionError("the model was loaded")

    with pytest.raises(error, match=said):
        evaluation.run(evaluation.EvalConfig((TASK,), tmp_path / "run", context(world, **options)), never)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.txt", b"\xff\xfe"), ("a.json", b"{"), ("a.json", b"[]"), ("a.json", b'{"train": [1]}'),
        ("a.json", b'{"train": []}'), ("words.txt", b"\n \n"),
    ],
)  # fmt: skip
def test_files_that_are_none(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        vocabulary.of({"vocabulary": str(tmp_path / name)}, ())


def test_a_list_of_words_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("heart\n\n.\nlungs \n")
    kept = vocabulary.of({"vocabulary": str(tmp_path / "words.txt")}, ())
    assert kept is not None
    assert kept.words == {"heart", ".", "lungs"}
    assert kept.digest == vocabulary.made(["lungs", "heart", "."]).digest
    assert vocabulary.of({}, ()) is None


def test_a_task_without_options_refuses_them(world: Path, tmp_path: Path) -> None:
    config = evaluation.EvalConfig(("report_generation_study",), tmp_path / "r", context(world, vocabulary="train"))
    with pytest.raises(UsageError, match="their options: none"):
        evaluation.run(config, lambda: Random(0))


def test_command_line(world: Path, tmp_path: Path) -> None:
    call, out = CliRunner().invoke, str(tmp_path / "run")
    given = ["--mimic-root", str(world / "mimic"), "--limit", "6", "--draws", "0", "--out", out]
    options = ["--task-args", "vocabulary=train,min_count=40"]
    done = call(application(), ["eval", "--model", "random", "--tasks", TASK, *given, *options])
    assert done.exit_code == 0, done.output
    assert "r2gen, vocabulary " in (tmp_path / "run" / "table.md").read_text()
    done = call(application(), ["grade", out, "--draws", "0", "--task-args", ""])
    assert done.exit_code == 0, done.output
    assert "r2gen, vocabulary " not in (tmp_path / "run" / "table.md").read_text()
