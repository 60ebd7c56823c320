"""Each metric as an `evaluate.EvaluationModule`, for those who work with that library; nothing is downloaded."""

from typing import Any

from cxr_max.evaluation import metrics
from cxr_max.optional import require


def as_evaluate(name: str) -> Any:
    """A metric as an `evaluate.Metric`: `.add_batch(...)`, `.compute(...)`, usable in `evaluate.combine`.

    Options of the metric are passed to `compute`, as in `compute(predictions=p, references=r, profile="clean")`.

    Raises:
        UnknownNameError: no such metric.
        MissingExtraError: the extra `eval` is not installed.
    """
    evaluate, datasets = require("evaluate", extra="eval"), require("datasets")
    metric = metrics.get(name)
    kinds = getattr(metric.module, "TYPES", ("string", "string"))
    features = {n: datasets.Value(k) for n, k in zip(("predictions", "references"), kinds, strict=True)}

    class Module(evaluate.Metric):  # type: ignore[name-defined,misc]
        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=metric.__doc__,
                citation="",
                inputs_description="predictions and references, one each per sample; options of the metric to compute",
                features=datasets.Features(features),
            )

        def _compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
            return metric(predictions=predictions, references=references, **options)

    return Module(config_name=name)
