"""Each metric as an `evaluate.EvaluationModule`, for those who work with that library; nothing is downloaded."""

from typing import Any

from cxr_max.data.card import template
from cxr_max.evaluation import metrics
from cxr_max.optional import require


def card_of(name: str) -> str:
    """The card of one of our metrics as Markdown; empty for those of other packages.

    Cards lie in `cards/metrics/`.
    """
    return template(f"metrics/{name}.md") if name in metrics.REGISTRY.own() else ""


def _section(card: str, title: str) -> str:
    """The text under a heading of a card."""
    _, _, rest = card.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0].strip()


def _feature(datasets: Any, kind: str) -> Any:
    """One value a sample, or a list of texts or numbers."""
    lists = {"strings": "string", "floats": "float64"}
    return [datasets.Value(lists[kind])] if kind in lists else datasets.Value(kind)


def as_evaluate(name: str) -> Any:
    """A metric as an `evaluate.Metric`: `.add_batch(...)`, `.compute(...)`, usable in `evaluate.combine`.

    Options of the metric are passed to `compute`, as in `compute(predictions=p, references=r, profile="clean")`.

    Raises:
        UnknownNameError: no such metric.
        MissingExtraError: the extra `eval` is not installed.
    """
    evaluate, datasets = require("evaluate", extra="eval"), require("datasets")
    metric = metrics.get(name)
    card = card_of(name)
    kinds = getattr(metric.module, "TYPES", ("string", "string"))
    features = {n: _feature(datasets, k) for n, k in zip(("predictions", "references"), kinds, strict=True)}

    class Module(evaluate.Metric):  # type: ignore[name-defined,misc]
        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=card or metric.__doc__,
                citation=_section(card, "Source"),
                inputs_description=_section(card, "Input") or "predictions and references, one each per sample",
                features=datasets.Features(features),
            )

        def _compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
            return metric(predictions=predictions, references=references, **options)

    return Module(config_name=name)
