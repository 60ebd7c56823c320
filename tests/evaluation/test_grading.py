"""Grading: readings of answers, echo beside given diagnoses, overlap with training, small cells, extractors, files."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_max import evaluation, synth
from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.evaluation import ask, grading, labelled, metrics, overlap, predictors, score_files, tasks
from cxr_max.evaluation.answers import report_answer
from cxr_max.evaluation.types import Context, Failure, Item, Output, Sample
from cxr_max.roots import Root
from cxr_max.schema import FINDINGS
from tests.evaluation import worlds

YES_NO, CHANGE = ("yes", "no"), ("improving", "stable", "worsening")


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its Java program starts many times here and is tested elsewhere."""
    monkeypatch.setenv("CXR_MAX_METEOR_JAR", str(tmp_path_factory.getbasetemp() / "absent.jar"))


class Says:
    """Answers by a function of the sample."""

    name, revision, settings = "says", "1", {}

    def __init__(self, answer: Callable[[Sample], Output], **more: Any) -> None:
        self.answer = answer
        vars(self).update(more)

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        yield from map(self.answer, samples)


def run(tmp_path: Path, task: str, predictor: Any, *, synthetic: bool = True, **more: Any) -> Any:
    if not (tmp_path / "world").exists():
        worlds.ms_cxr_t(tmp_path / "world")
    if synthetic:
        (tmp_path / "world" / "SYNTHETIC").touch()
    places = ("mimic-cxr-jpg", "ms-cxr-t")
    roots = tuple(Root(name, tmp_path / "world" / name, "option") for name in places)
    config = evaluation.EvalConfig((task,), tmp_path / "run", Context(roots), **more)
    evaluation.run(config, lambda: predictor)
    return config.out


def item(output: Output | None, options: tuple[str, ...] = YES_NO, group: str = "Edema") -> Item:
    return Item(Sample("1", "?", options=options, finding=group), "yes", group, output)


def test_several_answers_are_a_vote_and_a_share() -> None:
    said = item(Output("Yes.", None, ("Yes.", "No.", "Yes.", "who knows")))
    assert ask.how([said]) == "samples:4"
    assert (ask.choice(said, "samples:4"), ask.margin(said, "samples:4")) == ("yes", (1 + 0 + 1 + 0.5) / 4)
    tie = item(Output("Yes.", None, ("Yes.", "No.")))
    assert (ask.choice(tie, "samples:2"), ask.margin(tie, "samples:2")) == (None, 0.5)
    assert ask.how([said, tie]) == "parse", "answers asked differently often have no common reading of votes"
    assert math.isnan(ask.margin(item(None), "samples:4"))
    assert math.isnan(ask.margin(item(Output("?", None, ("?", "who knows"))), "samples:2"))


def test_an_abstention_is_wrong_in_a_ranking_too() -> None:
    """Of 2 x 2 pairs, that of the two answers is in order; the three with an abstention are lost."""
    said = [(1, Output("", (2.0, 0.0))), (1, Failure("x")), (0, Output("", (1.0, 0.0))), (0, None)]
    items = [replace(item(output), target=target) for target, output in said]
    measure = ask.auc_measure(items, "Edema", "score")
    assert metrics.get("auc").aggregate(measure.stats)["auc"] == [0.25]
    assert {k: measure.notes[k] for k in ("n", "failed", "abstained", "prevalence")} == {
        "n": 4, "failed": 2, "abstained": 2, "prevalence": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "answer"),
    [
        ("Small left effusion. Mild pulmonary edema.", YES_NO, "yes"),
        ("Small left effusion. No edema.", YES_NO, "no"),
        ("Small left effusion.", YES_NO, "no"),
        ("Possible edema.", YES_NO, "yes"),
        ("", YES_NO, None),
        ("Edema has worsened. The effusion is stable.", CHANGE, "worsening"),
        ("Edema is present. The effusion is stable.", CHANGE, None),
        ("Edema is stable to slightly improved.", CHANGE, None),
    ],
)
def test_a_report_answers_by_its_findings(text: str, options: tuple[str, ...], answer: str | None) -> None:
    assert report_answer(text, "Edema", options) == answer
    assert ask.choice(item(Output(text), options), "report") == answer


def test_the_reading_is_chosen_named_and_checked(tmp_path: Path) -> None:
    out = run(tmp_path, "ms_cxr_t_presence_blank0", Says(lambda s: Output("Yes. No edema is seen.")))
    by_word, by_report = (evaluation.grade(out, draws=0, read=r) for r in ("auto", "report"))
    assert {r["read"] for r in by_word} == {"parse"}
    assert {r["read"] for r in by_report} == {"report"}
    assert not {r["signature"] for r in by_word} & {r["signature"] for r in by_report}
    with pytest.raises(UsageError, match="not every answer"):
        evaluation.grade(out, draws=0, read="score")
    with pytest.raises(UnknownNameError, match="auto, parse, report, score"):
        evaluation.grade(out, draws=0, read="guess")


@pytest.mark.parametrize("definition", ["strict", "blank0", "annotated"])
def test_given_diagnoses_the_echo_stands_beside_and_is_no_model(definition: str, tmp_path: Path) -> None:
    name = f"ms_cxr_t_presence_{definition}_given_dx"
    out = run(tmp_path, name, Says(lambda s: Output("no"), training=()))
    rows = [r for r in evaluation.grade(out, draws=0) if r["subset"] == "all" and r["score"] == "macro_accuracy"]
    echo = {r["group"]: r for r in rows if r["group"].startswith("echo: ")}
    assert {r["group"] for r in rows} == {*echo, *(g.removeprefix("echo: ") for g in echo)}
    assert all(r["better"] == 0 for r in echo.values())
    if definition != "annotated":
        assert echo["echo: mean"]["value"] == 1.0, "the truth is what the prompt says"
    plain, given = (tasks.get(n).load(Context(_roots(tmp_path))) for n in (name.removesuffix("_given_dx"), name))
    assert [i.target for i in plain] == [i.target for i in given]
    assert all("Diagnoses" not in i.sample.prompt and not i.sample.diseases for i in plain)
    assert any("Edema" in i.sample.prompt for i in given if i.group != "Edema")
    assert all(("none" in i.sample.prompt) == (not i.sample.diseases) for i in given)


def _roots(tmp_path: Path) -> tuple[Root, ...]:
    return tuple(Root(n, tmp_path / "world" / n, "option") for n in ("mimic-cxr-jpg", "ms-cxr-t"))


def _split_table(tmp_path: Path) -> dict[str, str]:
    """Give the world's tree its split table; returns patient by image."""
    files = sorted((tmp_path / "world").rglob("*.jpg"))
    rows = [(f.stem, f.parent.name[1:], f.parent.parent.name[1:], "test") for f in files]
    with (tmp_path / "world" / "mimic-cxr-jpg" / "mimic-cxr-2.0.0-split.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("dicom_id", "study_id", "subject_id", "split"), *rows])
    return {r[0]: r[2] for r in rows}


def test_training_ids_become_patients_and_a_block_without_them(tmp_path: Path) -> None:
    worlds.ms_cxr_t(tmp_path / "world")
    patient = _split_table(tmp_path)
    ids = [i for i, p in patient.items() if p in ("10000001", "10000002")][1:]
    out = run(tmp_path, "ms_cxr_t_progression", Says(lambda s: Output("stable"), training=tuple(ids)))
    assert json.loads((out / "restricted" / "run.json").read_text())["training_patients"] == ["10000001", "10000002"]
    patients = {r["subset"]: r["patients"] for r in evaluation.grade(out, draws=0) if r["group"] == "mean"}
    assert patients["all"] - patients["unseen patients"] in (1, 2)
    assert "10000001" not in (out / "scores.json").read_text() + (out / "table.md").read_text()


@pytest.mark.parametrize("ids", [None, ("nobody knows this image",)], ids=["none", "unknown"])
def test_training_ids_that_are_not_known_establish_nothing(ids: Any, tmp_path: Path) -> None:
    out = run(tmp_path, "ms_cxr_t_progression", Says(lambda s: Output("stable"), training=ids))
    assert {r["subset"] for r in evaluation.grade(out, draws=0)} == {"all (overlap not established)"}
    assert "overlap not established" in (out / "table.md").read_text()


def test_a_model_that_has_seen_every_patient_has_an_empty_block(tmp_path: Path) -> None:
    worlds.ms_cxr_t(tmp_path / "world")
    ids = tuple(_split_table(tmp_path))
    out = run(tmp_path, "ms_cxr_t_progression", Says(lambda s: Output("stable")), training_ids=ids)
    unseen = [r for r in evaluation.grade(out, draws=0) if r["subset"] == "unseen patients"]
    assert [(r["n"], r["value"] == r["value"]) for r in unseen] == [(0, False)]


def test_files_of_training_ids(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"training_ids": ["a", "b"]}')
    (tmp_path / "ids.txt").write_text("a\n\nb\n")
    assert overlap.read(tmp_path / "training.json") == overlap.read(tmp_path / "ids.txt") == ("a", "b")
    (tmp_path / "other.json").write_text('{"ids": []}')
    with pytest.raises(DataError, match="training_ids"):
        overlap.read(tmp_path / "other.json")
    with pytest.raises(MissingFileError, match="--training"):
        overlap.read(tmp_path / "absent.json")


def test_cells_over_few_patients_are_hidden_also_in_their_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Says(lambda s: Output("no"), training=())
    out = run(tmp_path, "ms_cxr_t_presence_annotated", predictor)
    shown = evaluation.grade(out, draws=20)
    assert all("value" in r and "suppressed" not in r for r in shown)
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    evaluation.run(evaluation.EvalConfig(("ms_cxr_t_presence_annotated",), out, Context(_roots(tmp_path))),
                   lambda: predictor)  # fmt: skip
    hidden = evaluation.grade(out, draws=20)
    # 12 patients in all, of whom 9 have a finding and 3 do not: the scores may be shown, the counts may not.
    of_findings = [r for r in hidden if r["group"] not in ("mean",)]
    assert of_findings
    hidden_counts = set(grading.COUNTS_OF_CLASSES) - {"classes"}
    assert all("value" in r and not hidden_counts & set(r) for r in of_findings)
    assert all("suppressed" in str(r["classes"]) for r in of_findings)
    text = "".join((out / n).read_text() for n in ("scores.json", "table.md", "table.csv"))
    assert not any(f'"{name}"' in text or f"{name} 0." in text for name in hidden_counts)
    assert (out / ".gitignore").read_text() == "*\n"
    assert out.stat().st_mode & 0o077 == 0
    few = evaluation.grade(out, draws=20, training_patients={f"1000000{i}" for i in range(1, 5)})
    block = [r for r in few if r["subset"] == "unseen patients"]
    assert block
    assert all("value" not in r and r["suppressed"] and not r["n"] for r in block)


def test_the_difference_of_two_blocks_does_not_show_a_few_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "PATIENTS", 24)
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    out = run(tmp_path, "ms_cxr_t_presence_annotated", Says(lambda s: Output("no")))
    seen = {str(10_000_001 + i) for i in range(12)}
    rows = evaluation.grade(out, draws=0, training_patients=seen)
    assert all("value" in r for r in rows if r["subset"] == "unseen patients" and r["group"] == "mean")
    rows = evaluation.grade(out, draws=0, training_patients=set(sorted(seen)[:3]))
    assert all("value" not in r for r in rows if r["subset"] == "unseen patients")
    assert all("value" in r for r in rows if r["subset"] == "all" and r["group"] == "mean")


def test_answers_of_a_model_trained_on_real_data_are_restricted_on_synthetic_images(tmp_path: Path) -> None:
    out = run(tmp_path, "ms_cxr_t_progression", Says(lambda s: Output("stable"), derived=True))
    assert out.stat().st_mode & 0o077 == 0
    assert not json.loads((out / "restricted" / "run.json").read_text())["synthetic"]


def test_the_picture_goes_when_there_is_nothing_to_draw(tmp_path: Path) -> None:
    out = run(tmp_path, "ms_cxr_t_progression", Says(lambda s: Output("stable")))
    (out / "table.png").write_bytes(b"old")
    score_files.write(out, [], json.loads((out / "restricted" / "run.json").read_text()))
    assert not (out / "table.png").exists()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over reports whose answers are the references, the second one empty."""
    place = tmp_path_factory.mktemp("reports")
    synth.write_world(synth.WorldConfig(subjects=60, seed=1, size=64), place / "w")
    context = Context((Root("mimic-cxr", place / "w" / "mimic", "option"),), limit=12)
    items = [i for i in tasks.get("report_generation_study").load(context) if i.asked]
    truth = {i.sample.id: "" if n == 1 else str(i.target) for n, i in enumerate(items)}
    config = evaluation.EvalConfig(("report_generation_study",), place / "run", context)
    evaluation.run(config, lambda: Says(lambda s: Output(truth[s.id]), training=()))
    return config.out


def _labels(out: Path, path: Path, *, leave_out: int = 0) -> Path:
    run_ = evaluation.running.described(out)
    items = tasks.get("report_generation_study").load(evaluation.running.context_of(run_))
    texts = sorted({str(i.target) for i in items if i.asked})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["Report Impression", *FINDINGS], restval="")
        writer.writeheader()
        writer.writerows({"Report Impression": t, "Edema": 1} for t in texts[leave_out:])
    return path


def test_a_labelers_scores_stand_under_its_own_key(reports: Path, tmp_path: Path) -> None:
    files = {"labels_csv": _labels(reports, tmp_path / "labels.csv")}
    rows = [r for r in evaluation.grade(reports, draws=0, extractors=files) if r["subset"] == "all"]
    theirs = {r["score"]: r for r in rows if r["group"] == "labels_csv/chexbert"}
    n = theirs["f1_micro"]["n"]
    assert theirs["f1_micro"]["value"] == pytest.approx(2 * (n - 1) / (2 * (n - 1) + 1)), "one answer is empty"
    assert "f1_labels14 v1|profile labels_csv/chexbert " in theirs["f1_micro"]["signature"]
    ours = next(r for r in rows if r["score"] == "f1_micro" and r["group"] == "all")
    assert "f1_rules14" in ours["signature"]
    assert not any(r["group"] == "mean" for r in rows), "two labelers have no common mean"
    assert {r["read"] for r in rows} == {"report"}


def test_radgraph_is_read_by_its_own_labels(reports: Path, tmp_path: Path) -> None:
    run_ = evaluation.running.described(reports)
    items = tasks.get("report_generation_study").load(evaluation.running.context_of(run_))
    texts = sorted({str(i.target) for i in items if i.asked})
    entity = {"tokens": "edema", "label": "OBS-DP", "start_ix": 0, "end_ix": 0, "relations": []}
    graphs = {str(n): {"text": t, "entities": {"1": entity}} for n, t in enumerate(texts)}
    (tmp_path / "g.json").write_text(json.dumps(graphs))
    rows = evaluation.grade(reports, draws=0, extractors={"radgraph": tmp_path / "g.json"})
    theirs = {r["score"]: r["value"] for r in rows if r["group"] == "radgraph/1" and r["subset"] == "all"}
    assert theirs["precision"] == 1.0
    assert 0.5 < theirs["recall"] < 1.0


def test_a_file_that_misses_a_text_or_an_extractor_that_is_none(reports: Path, tmp_path: Path) -> None:
    short = _labels(reports, tmp_path / "short.csv", leave_out=1)
    with pytest.raises(DataError, match="not among the"):
        evaluation.grade(reports, draws=0, extractors={"labels_csv": short})
    assert labelled.parse([f"labels_csv={short}"]) == {"labels_csv": short}
    for bad in (["labels_csv"], ["labels_csv=a", "labels_csv=b"], ["labels_csv="]):
        with pytest.raises(UsageError, match="NAME=PATH"):
            labelled.parse(bad)
    with pytest.raises(UnknownNameError, match="radgraph"):
        labelled.parse(["chexnet=a"])


def test_one_class_of_labels_is_undefined_and_counted(tmp_path: Path) -> None:
    root = worlds.det10(tmp_path / "det10")
    (tmp_path / "SYNTHETIC").touch()
    records = json.loads((tmp_path / "det10" / "test.json").read_text())
    for record in records:
        record["syms"] = [s for s in record["syms"] if s != "Mass"]
    (tmp_path / "det10" / "test.json").write_text(json.dumps(records))
    config = evaluation.EvalConfig(("zero_shot_chestx_det10",), tmp_path / "run", Context((root,)))
    evaluation.run(config, lambda: predictors.make("random", {}))
    rows = {r["group"]: r for r in evaluation.grade(config.out, draws=10)}
    assert rows["Mass"]["value"] != rows["Mass"]["value"]
    assert rows["mean"]["undefined_groups"] == 1
    assert rows["mean"]["value"] == pytest.approx(
        sum(r["value"] for g, r in rows.items() if g not in ("mean", "Mass", "pooled over classes")) / 9
    )
    assert "undefined" in (config.out / "table.md").read_text()


def test_given_diagnoses_reports_have_echo_rows(reports: Path, tmp_path: Path) -> None:
    context = evaluation.running.context_of(evaluation.running.described(reports))
    name = "report_generation_study_given_dx"
    config = evaluation.EvalConfig((name,), tmp_path / "run", context)
    evaluation.run(config, lambda: Says(lambda s: Output("No edema."), training=()))
    groups = {r["group"] for r in evaluation.grade(config.out, draws=0) if r["score"] == "f1_micro"}
    assert groups == {"all", "echo: all"}
    items = tasks.get(name).load(context)
    assert {i.sample.id for i in items} == {i.sample.id for i in tasks.get("report_generation_study").load(context)}
    assert all(i.sample.prompt.startswith("Diagnoses of this patient: ") for i in items)
    assert [replace(i.sample, id="") for i in tasks.get("report_generation_r2gen_given_dx").load(context)]
