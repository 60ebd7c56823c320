"""What each adapter refuses, and that no message repeats the text."""

import json
from pathlib import Path

import pytest

from cxr_max.endpoint import EndpointError, Retention
from cxr_max.errors import DataError, MissingFileError, RestrictedDataError, UnknownNameError, UsageError
from cxr_max.findings import adapters
from cxr_max.findings.model import Finding
from tests.findings.adapters import samples

SECRET = "Left effusion of a certain patient"


def test_unknown_extractor_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="labels_csv, llm, radgraph, rules"):
        adapters.get("chexnet")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe\x00", b"Reports,Edema\nx,1\n",
        b"Reports,\"unclosed\nx,1\n",
    ],
)  # fmt: skip
def test_files_that_are_no_label_csv(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(DataError):
        adapters.get("labels_csv").build(file)


def test_label_files_with_wrong_cells_or_contradictions(tmp_path: Path) -> None:
    good = samples.write_csv(tmp_path / "good.csv", "Reports").read_text()
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(good.replace(",1.0", ",2", 1))
    with pytest.raises(DataError, match="other than 1, 0, -1 or empty"):
        adapters.get("labels_csv").build(wrong)
    lines = good.splitlines()
    twice = next(line for line in lines if line.startswith(samples.LINE))
    wrong.write_text("\n".join([*lines, twice]))
    assert len(adapters.get("labels_csv").build(wrong)) == len(samples.LABELS)
    wrong.write_text("\n".join([*lines, twice.replace("1.0", "0.0")]))
    with pytest.raises(DataError, match="twice"):
        adapters.get("labels_csv").build(wrong)


def test_missing_files_and_unknown_texts(tmp_path: Path) -> None:
    for name, file in (
        ("labels_csv", samples.write_csv(tmp_path / "l.csv", "Reports")),
        ("radgraph", samples.write_radgraph(tmp_path / "g.json", "1")),
    ):
        with pytest.raises(MissingFileError):
            adapters.get(name).build(tmp_path / "none")
        with pytest.raises(DataError) as caught:
            adapters.get(name).build(file).extract(SECRET)
        assert "effusion" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"text": "x"}}'])
def test_files_that_are_no_radgraph(content: str, tmp_path: Path) -> None:
    file = tmp_path / "g.json"
    file.write_text(content)
    with pytest.raises(DataError):
        adapters.get("radgraph").build(file)


def test_radgraph_with_words_that_are_not_there(tmp_path: Path) -> None:
    entity = {"tokens": "effusion", "label": "OBS-DP", "start_ix": 7, "end_ix": 9, "relations": []}
    file = tmp_path / "g.json"
    file.write_text(json.dumps({"a": {"text": "an effusion", "entities": {"1": entity}}}))
    with pytest.raises(DataError, match="not there"):
        adapters.get("radgraph").build(file).extract("an effusion")


@pytest.mark.parametrize(
    "url", ["http://192.0.2.7:8000/v1", "http://example.org/v1", "http://127.0.0.1.example.org/v1", "http://0.0.0.0/v1"]
)
def test_remote_addresses_are_refused(url: str) -> None:
    with pytest.raises(RestrictedDataError, match="retention term"):
        adapters.get("llm").build(url, "m")


def test_a_declared_endpoint_is_taken() -> None:
    declared = Retention("A provider", "2026-01-01", "zero data retention")
    model = adapters.get("llm").build("https://models.example.org/v1", "m", retention=declared)
    assert model.endpoint.retention == declared


@pytest.mark.parametrize("url", ["127.0.0.1:80", "", "file:///etc/passwd"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        adapters.get("llm").build(url, "m")


@pytest.mark.parametrize(
    ("kind", "error", "tries"),
    [
        ("words", DataError, 1), ("list", DataError, 1), ("concept", DataError, 1), ("redirect", EndpointError, 1),
        ("error", EndpointError, 5),
    ],
)  # fmt: skip
def test_answers_that_are_none(kind: str, error: type[Exception], tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with samples.llm_server() as (url, asked):
        with pytest.raises(error) as caught:
            adapters.get("llm").build(url, "m").extract(f"broken: {kind}")
        assert len(asked) == tries
    assert "broken" not in str(caught.value)


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(EndpointError, match="no answer"):
        adapters.get("llm").build("http://127.0.0.1:9/v1", "m", timeout=1).extract(SECRET)


def test_the_endpoint_is_asked_as_the_standard_says() -> None:
    left = Finding("pleural_effusion", "Pleural Effusion", "present", "left", None, 0, 1, "test")
    with samples.llm_server() as (url, asked):
        model = adapters.get("llm").build(url.replace("127.0.0.1", "localhost"), "tiny-model")
        model.extract(samples.LINE)
        assert model.verdict([left], left) == "entail"
        assert model.verdict([left._replace(status="absent")], left) == "contradict"
        assert model.verdict([], left) == "neutral"
    first = asked[0]
    assert (first["path"], first["model"], first["temperature"]) == ("/v1/chat/completions", "tiny-model", 0)
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    assert "pleural_effusion" in first["messages"][0]["content"]
    assert first["messages"][1]["content"] == samples.LINE
