"""The diagnosis tasks: what is read off an answer, and what a perfect and an empty answer score."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_max import data, evaluation, mimic, synth
from cxr_max.errors import MissingFileError, UsageError
from cxr_max.evaluation import diagnosis
from cxr_max.evaluation.types import Context, Output, Sample
from cxr_max.roots import resolve


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("<think>x</think>\nDiagnoses: Edema, Pneumonia.", {"Edema", "Pneumonia"}),
        ("<think>Diagnoses: Fracture.</think>\nDiagnoses: No Finding.", {"No Finding"}),
        ("Diagnoses: Edema, Emphysema\nmore, Fracture", {"Edema"}),
        ("Diagnoses: edema.", None),
        ("There is Edema.", None),
        ("Diagnoses: ", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_printed_line(text: str, labels: set[str] | None) -> None:
    assert diagnosis.printed(text) == labels


def test_the_reasoning_is_what_stands_before_the_line() -> None:
    assert diagnosis.rationale("<think>One. Two.</think>\nDiagnoses: Edema.").strip() == "One. Two."
    assert diagnosis.rationale("never finished") == "never finished"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosis")
    synth.write_world(synth.WorldConfig(subjects=40, seed=1, size=64, length=0.2), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release", findings=False)
    return folder


def _context(folder: Path) -> Context:
    roots = resolve([], mimic_roots=[folder / "world" / "mimic"])
    return Context(roots, None, folder / "release", folder / "world" / "truth")


SENTENCES = {
    "Pleural Effusion": "The image demonstrates a {} pleural effusion. ",
    "Atelectasis": "Linear bands in the {} lung base represent atelectasis. ",
}


class Knowing:
    """Prints the truth and writes a sentence of the grammar for one finding of it, on the true side or the other."""

    name, revision, settings = "knowing", "1", {}

    def __init__(self, there: dict[str, diagnosis.Truth], *, flip: bool) -> None:
        self.there, self.flip = there, flip

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        for s in samples:
            true = self.there[s.id]
            labels = sorted({label for label, _ in true}) or ["No Finding"]
            text = ""
            for label, sentence in SENTENCES.items():
                sides = {side for name, side in true if name == label}
                if len(sides) == 1:
                    side = str(sides.pop())
                    text += sentence.format({"left": "right", "right": "left"}[side] if self.flip else side)
            yield Output(f"<think>{text}</think>\nDiagnoses: {', '.join(labels)}.")


@pytest.mark.parametrize("flip", [False, True])
def test_the_truth_scores_one_and_a_flipped_side_nothing(world: Path, tmp_path: Path, flip: bool) -> None:
    context = _context(world)
    items = evaluation.tasks.get("diagnosis_validate").load(context)
    there = {i.sample.id: i.target for i in items}
    assert {len({s for n, s in i.target if n in SENTENCES}) for i in items} & {1}
    config = evaluation.EvalConfig(("diagnosis_validate",), tmp_path / "run", context)
    evaluation.run(config, lambda: Knowing(there, flip=flip))
    scores = {(r["score"], r["group"]): r for r in evaluation.grade(tmp_path / "run", draws=10)}
    assert scores["macro_accuracy", "mean"]["value"] == 1
    assert scores["abstention", "mean"]["value"] == 0
    assert scores["side_accuracy", "all"]["value"] == (0 if flip else 1)
    assert "extractor grammar v1, truth" in scores["precision", "all"]["signature"]
    assert "synthetic" in scores["precision", "all"]["signature"]


def test_validate_and_test_share_no_patient_and_see_frontal_images_only(world: Path) -> None:
    loaded = {s: evaluation.tasks.get(f"diagnosis_{s}").load(_context(world)) for s in ("validate", "test")}
    patients = [{i.sample.patient for i in items} for items in loaded.values()]
    assert not patients[0] & patients[1]
    assert all(i.sample.prompt == diagnosis.QUESTION for items in loaded.values() for i in items)


def test_presence_on_validate_asks_what_the_labels_speak_of_and_no_other_patients(world: Path) -> None:
    context = _context(world)
    task = evaluation.tasks.get("presence_validate")
    items = task.load(replace(context, truth=None))
    frontal = {i.sample.id: i.sample.patient for i in evaluation.tasks.get("diagnosis_validate").load(context)}
    assert items
    assert {i.sample.patient for i in items} <= set(frontal.values())
    assert {i.target for i in items} == {"yes", "no"}
    labels = mimic.open_root(world / "world" / "mimic").labels("chexpert").collect()
    said = dict(zip(labels["study_id"], labels["Edema"], strict=True))
    states = [said[_study(world, i.sample.id.split("/")[0])] for i in items if i.group == "Edema"]
    assert [1 if i.target == "yes" else 0 for i in items if i.group == "Edema"] == states
    right = [replace(i, output=Output(str(i.target))) for i in items]
    values = [evaluation.metrics.get(m.metric).aggregate(m.stats)["accuracy"] for m in task.measures(right, "parse")]
    assert values
    assert all(v == 1 for v in values)
    with pytest.raises(UsageError, match="release"):
        task.load(Context())


def _study(world: Path, dicom: str) -> int:
    metadata = mimic.open_root(world / "world" / "mimic").metadata()
    return int(metadata.filter(dicom_id=dicom).select("study_id").collect().item())


def test_what_is_missing_is_named(world: Path, tmp_path: Path) -> None:
    task = evaluation.tasks.get("diagnosis_test")
    with pytest.raises(UsageError, match="--truth"):
        task.load(Context())
    whole = _context(world)
    with pytest.raises(MissingFileError, match="states"):
        task.load(Context(whole.roots, None, whole.release, tmp_path))


@pytest.mark.parametrize(
    ("said", "true", "expected"),
    [
        # precision, recall, side accuracy
        ({("Edema", None)}, {("Edema", "left")}, (1.0, 0.0, None)),
        ({("Edema", "left")}, {("Edema", "left"), ("Edema", "right")}, (1.0, 0.5, None)),
        ({("Edema", "right")}, {("Edema", "left")}, (0.0, 0.0, 0.0)),
        ({("Edema", "left"), ("Edema", "right")}, {("Edema", "left")}, (0.5, 1.0, 0.5)),
        ({("Edema", "left")}, {("Edema", None)}, (0.0, 1.0, None)),
        ({("Fracture", "left")}, set(), (0.0, None, None)),
        (set(), {("Edema", "left")}, (None, 0.0, None)),
    ],
)  # fmt: skip
def test_claims_worked_by_hand(said: set, true: set, expected: tuple[float | None, ...]) -> None:  # type: ignore[type-arg]
    found = evaluation.metrics.get("claims")(predictions=[said], references=[true])
    for name, value in zip(("precision", "recall", "side_accuracy"), expected, strict=True):
        assert found[name] == pytest.approx(float("nan") if value is None else value, nan_ok=True)
    with pytest.raises(UsageError):
        evaluation.metrics.get("claims").statistics(predictions=[], references=[])
