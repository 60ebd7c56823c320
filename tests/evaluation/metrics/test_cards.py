"""Every metric has a card, and the card says of the code what is so: name, version, scores, ranges, example."""

import ast
import re
from typing import Any, NamedTuple

import pytest
import yaml

from cxr_max import evaluation
from cxr_max.errors import MissingExtraError
from cxr_max.evaluation import hub, metrics
from cxr_max.evaluation.metrics import REGISTRY

SIGN = {1: "higher", -1: "lower", 0: "neither"}


def front(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(hub.card_of(name).split("---\n")[1])
    return found


class Example(NamedTuple):
    """`metrics.NAME(keyword=literal, ...)["score"]`, and the value the card promises."""

    metric: str
    arguments: dict[str, Any]
    score: str
    value: float


def example(name: str) -> Example:
    found = re.search(r"```python\n(.+)\n```\n\ngives `([^`]+)`", hub.card_of(name), re.DOTALL)
    assert found is not None
    node: Any = ast.parse(found[1], mode="eval").body
    arguments = {k.arg: ast.literal_eval(k.value) for k in node.value.keywords}
    return Example(node.value.func.attr, arguments, node.slice.value, float(found[2]))


@pytest.mark.parametrize("name", REGISTRY.own())
def test_the_card_names_the_code(name: str) -> None:
    said, metric = front(name), metrics.get(name)
    assert (said["name"], said["version"]) == (metric.name, metric.version)
    assert {s: v["better"] for s, v in said["scores"].items()} == {s: SIGN[metric.better(s)] for s in said["scores"]}
    for section in ("Input", "Example", "Limitations and bias", "Source"):
        assert f"\n## {section}\n" in hub.card_of(name)


@pytest.mark.parametrize("name", REGISTRY.own())
def test_the_cards_example_gives_what_it_says(name: str) -> None:
    shown, said = example(name), front(name)["scores"]
    assert shown.metric == name
    try:
        scores = metrics.get(name)(**shown.arguments)
    except MissingExtraError as e:
        pytest.skip(e.problem)
    assert scores.keys() == said.keys()
    for score, value in scores.items():
        low, high = (float(v) for v in said[score]["range"])
        assert low <= value <= high
    assert scores[shown.score] == pytest.approx(shown.value, abs=1e-6)


@pytest.mark.parametrize("name", REGISTRY.own())
def test_the_evaluate_module_carries_the_card(name: str) -> None:
    module = evaluation.as_evaluate(name)
    assert module.description == hub.card_of(name)
    assert module.citation
    assert module.inputs_description
