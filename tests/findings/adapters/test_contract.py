"""One contract for all extractors: labels of the samples, spans in the text, steps, names stored with every result.

Each extractor (rules, labels_csv, radgraph, llm) answers from its own kind of input for the same synthetic sentences.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_max import findings
from cxr_max.findings import adapters
from cxr_max.findings.chexpert import of_findings
from tests.findings.adapters import samples


@pytest.fixture(scope="module")
def llm_url() -> Iterator[str]:
    with samples.llm_server() as (url, _):
        yield url


MAKERS: dict[str, Callable[[Path, str], Any]] = {
    "rules": lambda folder, url: adapters.get("rules").build(),
    "labels_csv-chexpert": lambda folder, url: adapters.get("labels_csv").build(
        samples.write_csv(folder / "labeled_reports.csv", "Reports")
    ),
    "labels_csv-chexbert": lambda folder, url: adapters.get("labels_csv").build(
        samples.write_csv(folder / "labeled_reports.csv", "Report Impression")
    ),
    "radgraph-1": lambda folder, url: adapters.get("radgraph").build(samples.write_radgraph(folder / "g.json", "1")),
    "radgraph-xl": lambda folder, url: adapters.get("radgraph").build(samples.write_radgraph(folder / "g.json", "xl")),
    "llm": lambda folder, url: adapters.get("llm").build(url, "tiny-model"),
}


@pytest.fixture(params=MAKERS)
def extractor(request: pytest.FixtureRequest, tmp_path: Path, llm_url: str) -> Any:
    return MAKERS[request.param](tmp_path, llm_url)


def test_every_extractor_is_held_to_the_contract() -> None:
    assert {name.partition("-")[0] for name in MAKERS} == set(adapters.names())


@pytest.mark.parametrize("text", samples.LABELS)
def test_labels_of_samples(extractor: Any, text: str) -> None:
    labels = {k: v for k, v in of_findings(extractor.extract(text).findings).items() if v is not None}
    expected = dict(samples.LABELS[text])
    if extractor.name == "labels_csv":
        # A label file says nothing of findings outside the 14, which is what leaves No Finding blank.
        labels.pop("No Finding", None)
        expected.pop("No Finding", None)
    assert labels == expected


@pytest.mark.parametrize("text", samples.LABELS)
def test_findings_lie_in_the_text_and_name_known_things(extractor: Any, text: str) -> None:
    extraction = extractor.extract(text)
    assert extraction == extractor.extract(text)
    assert extraction.steps == findings.segment(text)
    for f in extraction.findings:
        assert 0 <= f.start < f.end <= len(text)
        assert findings.concepts()[f.concept].label == f.label
        assert f.rule
    if extractor.name != "labels_csv":
        assert extraction.refusal == (text == samples.GENERIC)


def test_sides_where_the_source_has_them(extractor: Any) -> None:
    sides = {f.side for f in extractor.extract(samples.EFFUSIONS).findings if f.concept == "pleural_effusion"}
    assert sides == ({None} if extractor.name == "labels_csv" else {"left", "right"})


def test_a_text_agrees_with_itself(extractor: Any) -> None:
    for text in samples.LABELS:
        result = findings.alignment(extractor.extract(text), extractor.extract(text, role="reference"))
        assert math.isnan(result.precision) or (result.precision, result.recall) == (1.0, 1.0)
        assert result.contradictions == 0


def test_results_can_name_their_extractor(extractor: Any) -> None:
    assert extractor.name in adapters.names()
    assert extractor.version
    assert len(extractor.config_hash) == 12
