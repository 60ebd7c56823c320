"""The predictor on transformers: likelihoods against a slow version, batches, images, adapters, memory, bad options."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_max import evaluation
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.evaluation import likelihood, models, predictors, writing
from cxr_max.evaluation.inputs import Questions
from cxr_max.evaluation.types import Context, Failure, Output, Sample
from tests.align import small_models
from tests.evaluation import worlds

YES_NO, CHANGE = ("yes", "no"), ("improving", "stable", "worsening")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("images")
    return [picture(place / f"{i}.png", 60 + 40 * i, seed=i) for i in range(3)]


def picture(path: Path, height: int, *, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, 90), dtype=np.uint8)).save(path)
    return path


def make(folder: Path, *, batch_size: int | None = None, **options: Any) -> Any:
    return predictors.make("hf", {"model": str(folder), "max_tokens": "8", **options}, batch_size=batch_size)


def ask(predictor: Any, samples: Sequence[Sample]) -> list[Output]:
    answers = list(predictor.predict(samples))
    assert all(isinstance(a, Output) for a in answers)
    return answers


def questions(images: list[Path], options: tuple[str, ...] = YES_NO) -> list[Sample]:
    """Of different lengths, with one image and with two."""
    shown = [(images[0],), (images[1],), (images[0], images[2]), (images[2],), (images[1],)]
    return [Sample(str(i), f"Does it show edema? {'Look. ' * i}", s, options) for i, s in enumerate(shown)]


def slow_scores(predictor: Any, sample: Sample) -> list[float]:
    """Every way an option is written, one forward each, without padding."""
    model, tokenizer = predictor.model, predictor.tokenizer
    question = Questions(models.load(predictor.test_folder).renderer).encode(sample)
    log_p: dict[str, list[tuple[float, int]]] = {o: [] for o in sample.options}
    for option in sample.options:
        for written in dict.fromkeys((option.capitalize(), option, " " + option.capitalize())):
            ids = tokenizer(written)["input_ids"]
            row = torch.cat([question.ids_P, torch.tensor(ids)])[None]
            kinds = (row == predictor.model.config.image_token_id).long()
            with torch.no_grad():
                logits = model(input_ids=row, mm_token_type_ids=kinds, **question.pixels).logits[0]
            each = logits[len(question.ids_P) - 1 : -1].log_softmax(-1)
            log_p[option].append((float(each.gather(-1, torch.tensor(ids)[:, None]).sum()), len(ids)))
    differ = len({n for values in log_p.values() for _, n in values}) > 1
    return [math.log(sum(math.exp(v / n if differ else v) for v, n in values)) for values in log_p.values()]


@pytest.mark.parametrize("options", [YES_NO, CHANGE], ids=["yes-no", "change"])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_scores_equal_one_forward_per_spelling(
    options: tuple[str, ...], batch_size: int, folder: Path, images: list[Path]
) -> None:
    predictor = make(folder, batch_size=batch_size)
    predictor.test_folder = str(folder)
    for sample, answer in zip(questions(images, options), ask(predictor, questions(images, options)), strict=True):
        assert answer.scores == pytest.approx(slow_scores(predictor, sample), abs=1e-4)
        assert answer.text == options[int(np.argmax(answer.scores or ()))]


def test_golden_scores_of_yes_and_no() -> None:
    def p_yes(yes: list[float], no: list[float]) -> float:
        ids = {(i,): v for i, v in enumerate([*yes, *no])}
        written = (tuple((i,) for i in range(len(yes))), tuple((len(yes) + i,) for i in range(len(no))))
        a, b = likelihood.option_scores(ids, written)
        return 1 / (1 + math.exp(b - a))

    assert p_yes([-0.2], [-2.2]) == pytest.approx(0.880797, abs=1e-6)
    assert p_yes([-0.7, -2.0], [-1.5, -3.0]) == pytest.approx(0.698380, abs=1e-6)


SURFACE = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)


@settings(max_examples=200)
@given(st.lists(st.lists(SURFACE, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple))
def test_every_token_of_every_spelling_is_read_in_as_few_rows_as_possible(written: likelihood.Surfaces) -> None:
    begins = likelihood.contexts(written)
    needed = {ids[:-1] for option in written for ids in option}
    assert all(any(b[: len(n)] == n for b in begins) for n in needed)
    assert set(begins) <= needed
    assert not any(a != b and b[: len(a)] == a for a in begins for b in begins)


def test_text_is_greedy_and_does_not_depend_on_the_batch_or_the_checkpoints_wishes(
    folder: Path, images: list[Path], tmp_path: Path
) -> None:
    samples = questions(images, ())
    alone, together = (ask(make(folder, batch_size=n), samples) for n in (1, 5))
    assert [a.text for a in alone] == [t.text for t in together]
    loaded = models.load(str(folder))
    for wish in ("repetition_penalty", "no_repeat_ngram_size"):
        setattr(loaded.model.generation_config, wish, 3 if wish == "no_repeat_ngram_size" else 5.0)
    encoded = [Questions(loaded.renderer).encode(s) for s in samples]
    texts = writing.write(loaded.model, loaded.renderer.tokenizer, encoded, ["k"] * 5, writing.Decoding(8))
    assert texts == [a.text for a in alone]
    assert loaded.model.generation_config.repetition_penalty == 5.0


def test_drawn_answers_depend_on_seed_and_sample_alone(folder: Path, images: list[Path]) -> None:
    samples = questions(images)
    alone, together = (ask(make(folder, batch_size=n, samples="3"), samples) for n in (1, 5))
    assert [a.samples for a in alone] == [t.samples for t in together]
    assert all(a.text == a.samples[0] and len(a.samples) == 3 for a in alone)
    assert [a.samples for a in ask(make(folder, samples="3", seed="1"), samples)] != [a.samples for a in alone]


def test_drawn_tokens_follow_the_models_distribution() -> None:
    p = torch.tensor([0.5, 0.2, 0.0, 0.3])
    rows = 4000
    drawn = writing.Drawn([str(i) for i in range(rows)], writing.Decoding(1, 1.0, 0))
    left = drawn(torch.zeros(rows, 1), p.log().expand(rows, -1))
    counts = Counter(left.argmax(-1).tolist())
    assert bool((torch.isfinite(left).sum(-1) == 1).all())
    for token, share in enumerate(p.tolist()):
        assert abs(counts[token] / rows - share) < 5 * math.sqrt(share * (1 - share) / rows) + 1e-9


def test_without_images_the_files_are_not_read_and_questions_are_asked_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    whole = likelihood.score
    monkeypatch.setattr(likelihood, "score", lambda m, q, w, pad: asked.append(len(q)) or whole(m, q, w, pad=pad))
    predictor = make(folder, images="false", batch_size=2)
    samples = [Sample(str(i), "Edema?", (tmp_path / "absent.png",), YES_NO) for i in range(6)]
    answers = ask(predictor, samples)
    assert len({a.scores for a in answers}) == 1
    assert asked == [2], "the same text is not asked again"


def test_without_images_a_text_is_written_once_for_a_question_unless_it_is_drawn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    whole = writing.write
    monkeypatch.setattr(writing, "write", lambda *a: asked.append(len(a[2])) or whole(*a))
    samples = [Sample(str(i), f"Write. {i % 2}", (tmp_path / "absent.png",)) for i in range(6)]
    answers = ask(make(folder, images="false", batch_size=2, max_tokens="4"), samples)
    assert asked == [2]
    assert [a.text for a in answers] == [answers[i % 2].text for i in range(6)]
    ask(make(folder, images="false", batch_size=2, max_tokens="4", temperature="1"), samples)
    assert asked == [2, 2, 2, 2], "what is drawn is drawn for each sample"


def test_a_text_only_run_is_marked_and_has_no_skill(folder: Path, tmp_path: Path) -> None:
    root = worlds.det10(tmp_path / "det10")
    (tmp_path / "SYNTHETIC").touch()
    config = evaluation.EvalConfig(("zero_shot_chestx_det10",), tmp_path / "run", Context((root,), limit=40))
    evaluation.run(config, lambda: make(folder, images="false"))
    rows = evaluation.grade(config.out, draws=10)
    of_classes = [r for r in rows if r["group"] != "pooled over classes"]
    assert {r["value"] for r in of_classes if not math.isnan(r["value"])} == {0.5}
    assert all("|text-only|" in r["signature"] and r["read"] == "score" for r in rows)


def test_an_image_that_cannot_be_read_fails_alone_and_says_no_path(
    folder: Path, images: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "p10000001-secret.png"
    broken.write_bytes(b"no image")
    samples = [Sample("a", "Edema?", (images[0],), YES_NO), Sample("b", "Edema?", (broken,), YES_NO)]
    whole, failed = make(folder).predict(samples)
    assert isinstance(whole, Output)
    assert failed == Failure("the image cannot be read")


def test_a_question_that_spells_a_special_token_fails(folder: Path, images: list[Path]) -> None:
    (answer,) = make(folder).predict([Sample("a", "Edema? <|image_pad|>", (images[0],), YES_NO)])
    assert isinstance(answer, Failure)
    assert "special token" in answer.reason


def test_an_adapter_changes_scores_and_revision_and_names_its_base(
    folder: Path, images: list[Path], tmp_path: Path
) -> None:
    with_adapter = small_models.adapter(tmp_path / "adapter", folder)
    samples = questions(images)
    plain = make(folder)
    first = predictors.make("hf", {"model": str(folder)}, adapter=str(with_adapter))
    second = predictors.make("hf", {}, adapter=str(with_adapter))
    a, b, c = ([o.scores for o in ask(p, samples)] for p in (plain, first, second))
    assert b == c
    assert np.abs(np.array(a) - np.array(b)).max() > 1e-3
    assert first.revision == second.revision != plain.revision
    assert make(folder).revision == plain.revision
    with pytest.raises(MissingFileError, match="adapter_config"):
        predictors.make("hf", {"model": str(folder)}, adapter=str(tmp_path))


def test_memory_that_runs_out_halves_the_batch_or_says_so(
    folder: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = likelihood.score, []

    def narrow(model: Any, encoded: Any, written: Any, *, pad: int) -> Any:
        sizes.append(len(encoded))
        if len(encoded) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return whole(model, encoded, written, pad=pad)

    monkeypatch.setattr(likelihood, "score", narrow)
    assert len(ask(make(folder), questions(images))) == 5
    assert sizes == [5, 4, 2, 2, 1]
    with pytest.raises(UsageError, match="memory runs out at 5"):
        list(make(folder, batch_size=5).predict(questions(images)))


@pytest.mark.parametrize("kind", [small_models.llava, small_models.llama], ids=["llava", "llama"])
def test_other_kinds_of_models(kind: Any, tmp_path: Path, images: list[Path]) -> None:
    place = kind(tmp_path / "model")
    samples = questions(images)
    options = {} if kind is small_models.llava else {"images": "false"}
    alone, together = (ask(make(place, batch_size=n, **options), samples) for n in (1, 5))
    assert np.array([a.scores for a in alone]) == pytest.approx(np.array([a.scores for a in together]), abs=1e-4)
    if kind is small_models.llama:
        with pytest.raises(UsageError, match="images=false"):
            list(make(place).predict(samples))


def test_numbers_of_the_device_are_chosen_and_named(folder: Path, images: list[Path]) -> None:
    assert make(folder).settings["dtype"] == "float32", "no accelerator here"
    half = make(folder, dtype="bfloat16")
    assert half.settings["dtype"] == "bfloat16"
    assert all(math.isfinite(s) for a in ask(half, questions(images)) for s in a.scores or ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sede": "1"}, "its arguments: model, adapter, answers"),
        ({"answers": "guess"}, "score, text"),
        ({"samples": "-1"}, "numbers from 0"),
        ({"samples": "2", "temperature": "0"}, "all the same"),
        ({"temperature": "nan"}, "numbers from 0"),
        ({"max_tokens": "a"}, "numbers from 0"),
        ({"dtype": "int4"}, "bfloat16"),
        ({"seed": "0.5"}, "whole numbers from 0"),
        ({"batch_size": "0"}, "whole numbers from 1"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else None,
)
def test_options_that_are_none(options: dict[str, str], said: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=said):
        predictors.make("hf", {"model": str(folder), **options})


def test_models_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model is named"):
        predictors.make("hf", {})
    with pytest.raises(MissingFileError, match="no folder"):
        predictors.make("hf", {"model": str(tmp_path / "absent")})
    with pytest.raises(DataError, match="no model"):
        predictors.make("hf", {"model": str(tmp_path)})
    with pytest.raises(UsageError, match="its arguments: seed"):
        predictors.make("random", {}, adapter="somewhere")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "٣"])
def test_batch_sizes_that_are_none(text: str) -> None:
    assert (predictors.parse_batch_size("auto"), predictors.parse_batch_size("7")) == (None, 7)
    with pytest.raises(UsageError, match="auto, or a whole number"):
        predictors.parse_batch_size(text)
