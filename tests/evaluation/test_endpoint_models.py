"""A model behind an endpoint, on a real loopback server: one answer, several drawn ones, refusals, bad images."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cxr_max import evaluation
from cxr_max.errors import RestrictedDataError, UsageError
from cxr_max.evaluation import predictors
from cxr_max.evaluation.predictors.openai import seed_of
from cxr_max.evaluation.types import Context, Failure, Output, Sample
from tests.align.consensus import serving as loopback
from tests.evaluation import worlds
from tests.mimic import dicoms

TASK = "zero_shot_chestx_det10"
Answer = tuple[int, Any]


def says(*texts: str | None) -> Answer:
    return 200, {"choices": [{"message": {"content": t}} for t in texts]}


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Answer]) -> Iterator[tuple[dict[str, str], list[dict[str, Any]]]]:
    """A server that answers by a function of the request; gives the model's address and the requests that came."""
    with loopback.serving(reply) as served:
        yield {"base_url": served.url.partition("#")[0], "model": "m"}, served.seen


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"][-1]["text"])


def config_of(tmp_path: Path, limit: int | None = None) -> Any:
    tmp_path.joinpath("SYNTHETIC").touch()
    root = worlds.det10(tmp_path / "det10")
    return evaluation.EvalConfig((TASK,), tmp_path / "run", Context((root,), limit))


def journal(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "restricted" / "samples.jsonl").read_text().splitlines()
    return {row["sample"]: row for row in map(json.loads, lines)}


CLOSED = Sample("1", "Does this chest X-ray show edema?", options=("yes", "no"), finding="Edema")


def test_a_local_endpoint_is_asked_and_its_failures_are_recorded(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Answer:
        assert body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
        assert (body["temperature"], "seed" in body, "n" in body) == (0, False, False)
        return (400, {}) if "mass" in text_of(body) else (200, {}) if "nodule" in text_of(body) else says("Yes.")

    config = config_of(tmp_path)
    with serving(reply) as (options, _):
        evaluation.run(config, lambda: predictors.make("openai", options))
    said = {k: row.get("output", row.get("failed")) for k, row in journal(config.out).items()}
    assert said["0.png/Effusion"] == "Yes."
    assert "status 400" in said["0.png/Mass"]
    assert "no message" in said["0.png/Nodule"]


def test_several_answers_are_drawn_and_their_share_of_yes_is_the_score(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Answer:
        assert body["temperature"] == 1
        return says(*["Yes."] * 3, *["No."] * (body["n"] - 3))

    config = config_of(tmp_path, limit=30)
    with serving(reply) as (options, came):
        evaluation.run(config, lambda: predictors.make("openai", {**options, "samples": "10"}))
        assert len(came) == 30
        evaluation.run(config, lambda: predictors.make("openai", {**options, "samples": "10"}))
        assert len(came) == 30, "what is answered is not asked again"
    assert {tuple(row["samples"]) for row in journal(config.out).values()} == {("Yes.",) * 3 + ("No.",) * 7}
    rows = evaluation.grade(config.out, draws=0)
    assert {r["read"] for r in rows} == {"samples:10"}
    assert {r["value"] for r in rows if r["value"] == r["value"]} == {0.5}


def refuses_n(body: dict[str, Any]) -> Answer:
    return (422, {}) if body.get("n", 1) > 1 else says(str(body["seed"]))


def ignores_n(body: dict[str, Any]) -> Answer:
    return says(str(body["seed"]))


@pytest.mark.parametrize("reply", [refuses_n, ignores_n], ids=["refuses n", "ignores n"])
def test_a_server_that_gives_one_answer_is_asked_again_with_seeds_of_their_own(
    reply: Callable[[dict[str, Any]], Answer],
) -> None:
    with serving(reply) as (options, _):
        model = predictors.make("openai", {**options, "samples": "5", "seed": "7"})
        first, second = (next(iter(model.predict([CLOSED]))) for _ in range(2))
    assert isinstance(first, Output)
    assert first == second, "seeds depend on seed, question and place alone"
    assert first.samples == tuple(str(seed_of(7, "1", place)) for place in range(5))
    assert len(set(first.samples)) == 5
    assert all(0 <= int(s) < 2**31 for s in first.samples)


def test_a_server_that_fails_in_between_fails_the_sample_whole() -> None:
    def reply(body: dict[str, Any]) -> Answer:
        return (400, {}) if body["seed"] == seed_of(0, "1", 2) else says("Yes.")

    with serving(reply) as (options, _):
        (answer,) = predictors.make("openai", {**options, "samples": "4"}).predict([CLOSED])
    assert isinstance(answer, Failure)
    assert "status 400" in answer.reason


def test_free_text_is_asked_for_once_however_many_answers_closed_questions_get() -> None:
    with serving(lambda body: says("Clear lungs.")) as (options, came):
        free = Sample("2", "Write the findings.")
        (answer,) = predictors.make("openai", {**options, "samples": "4"}).predict([free])
    assert answer == Output("Clear lungs.")
    assert len(came) == 1


@pytest.mark.parametrize(
    "answer", [{"choices": []}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"message": None}]}, {"x": 1}]
)
@pytest.mark.parametrize("samples", ["0", "3"])
def test_answers_that_are_none_are_failures(answer: Any, samples: str) -> None:
    with serving(lambda body: (200, answer)) as (options, _):
        (got,) = predictors.make("openai", {**options, "samples": samples}).predict([CLOSED])
    assert isinstance(got, Failure)
    assert "no message" in got.reason


def test_content_that_is_null_or_a_megabyte_is_an_answer() -> None:
    for text, expected in ((None, ""), ("no " * 350_000, "no " * 350_000)):
        with serving(lambda body, text=text: says(text)) as (options, _):  # type: ignore[misc]
            assert [*predictors.make("openai", options).predict([CLOSED])] == [Output(expected)]


def test_dicom_is_sent_as_png_and_what_cannot_be_read_fails_without_its_path(tmp_path: Path) -> None:
    good, bad = tmp_path / "p10" / "x.dcm", tmp_path / "p10" / "broken.dcm"
    good.parent.mkdir()
    dicoms.variant(good, dicoms.radiograph())
    bad.write_bytes(b"no dicom")
    asked = [Sample(str(i), "?", (p,)) for i, p in enumerate((good, bad, tmp_path / "p10" / "absent.jpg"))]
    with serving(lambda body: says("Clear.")) as (options, came):
        answers = [*predictors.make("openai", options).predict(asked)]
    assert answers[0] == Output("Clear.")
    assert [a.reason for a in answers[1:] if isinstance(a, Failure)] == ["the image cannot be read"] * 2
    (body,) = came
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).mode == "L"


def test_a_remote_endpoint_is_refused_without_a_declaration_and_the_declaration_is_stored() -> None:
    options = {"base_url": "https://api.example.org/v1", "model": "m"}
    with pytest.raises(RestrictedDataError):
        predictors.make("openai", options)
    declared = {"provider": "P", "date": "2026-01-01", "wording": "zero retention"}
    assert predictors.make("openai", {**options, **declared}).settings["retention"] == declared


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"samples": "3", "temperature": "0"}, "all the same"),
        ({"samples": "-1"}, "whole numbers from 0"),
        ({"samples": "2.5"}, "whole numbers from 0"),
        ({"max_tokens": "0"}, "from 1"),
        ({"max_tokens": "many"}, "whole numbers"),
        ({"temperature": "nan"}, "numbers from 0"),
        ({"temprature": "1"}, "its arguments: base_url"),
    ],
)
def test_options_that_are_none(more: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        predictors.make("openai", {"base_url": "http://127.0.0.1:1/v1", "model": "m", **more})


def test_what_may_change_an_answer_stands_in_the_settings() -> None:
    def make(**more: str) -> Any:
        return predictors.make("openai", {"base_url": "http://127.0.0.1:1/v1", "model": "m", **more})

    drawn = {"temperature": 1.0, "samples": 4, "seed": 2}
    assert make().settings == {"max_tokens": 512, "samples": 0, "seed": 0, "temperature": 0.0, "images": True,
                               "retention": None}  # fmt: skip
    assert drawn.items() <= make(samples="4", seed="2").settings.items()
    assert make(images="false").settings["images"] is False
