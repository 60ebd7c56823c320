"""Metrics, one file each: per-sample sufficient statistics, and a pure function from their weighted sums to scores.

A metric module defines

    NAME, VERSION   what stands in a signature
    statistics(*, predictions, references, **options) -> float64 array [S, K], one row a sample
    aggregate(stats_SK, weights_DS) -> {score name: float64 array [D]}

and may define

    BETTER          {score name: -1 when lower is better, 0 when neither}; +1 where nothing is said
    RATES           names of the scores that lie in [0, 1], so that no interval of theirs leaves it
    TOKENS          how it splits texts, for the signature; "none" where nothing is said
    ALONE           True when the row of a sample depends on nothing but that sample, so that a row once computed can be
                    taken again for a part of the samples (`remembering`)
    exchangeable(stats_SK) -> stats_SK    statistics as they may be exchanged between two models by a paired
                    randomisation test, where the models' own scales differ

`aggregate` takes D weightings of the S samples at once, so that a bootstrap or a paired randomisation test needs no
re-scoring: a draw is a row of counts.

Use them as `metrics.bleu(predictions=..., references=..., profile="clean")`; keyword-only everywhere.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from cxr_max.plugins import Registry, expose

REGISTRY = Registry("metric", __name__, "cxr_max.metrics", ("NAME", "VERSION", "statistics", "aggregate"))
_MEMORY: ContextVar[dict[Hashable, Any] | None] = ContextVar("rows of samples", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """While it lasts, a metric that is `ALONE` computes the row of each (prediction, reference, options) once.

    Grading scores all samples, then those of some patients; answers without Markdown are mostly the answers. What is
    held are the rows and references to the texts; it ends with the block.
    """
    if _MEMORY.get() is not None:
        yield
        return
    token = _MEMORY.set({})
    try:
        yield
    finally:
        _MEMORY.reset(token)


class Metric:
    """A metric module as a function of predictions and references."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.__doc__ = module.__doc__

    @property
    def name(self) -> str:
        """The metric's name."""
        return str(self.module.NAME)

    @property
    def version(self) -> str:
        """The metric's version: changes whenever a score may change."""
        return str(self.module.VERSION)

    @property
    def tokens(self) -> str:
        """How it splits texts."""
        return str(getattr(self.module, "TOKENS", "none"))

    def statistics(self, *, predictions: Sequence[Any], references: Sequence[Any], **options: Any) -> Any:
        """Per-sample sufficient statistics, float64 [S, K]."""
        memory = _MEMORY.get()
        if memory is not None and getattr(self.module, "ALONE", False) and len(predictions) == len(references):
            return self._remembered(memory, predictions, references, options)
        return self.module.statistics(predictions=predictions, references=references, **options)

    def _remembered(
        self, memory: dict[Hashable, Any], predictions: Sequence[Any], references: Sequence[Any], options: Any
    ) -> Any:
        named = (self.name, tuple(sorted(options.items())))
        try:
            keys = [(named, p, r) for p, r in zip(predictions, references, strict=True)]
            new = {key: i for i, key in enumerate(keys) if key not in memory}
        except TypeError:
            # A reference that is a list has no hash.
            return self.module.statistics(predictions=predictions, references=references, **options)
        if new or not keys:
            at = new.values()
            made = self.module.statistics(
                predictions=[predictions[i] for i in at], references=[references[i] for i in at], **options
            )
            memory.update(zip(new, made, strict=True))
        return np.array([memory[key] for key in keys], dtype=np.float64)

    def aggregate(self, stats_SK: Any, weights_DS: Any = None) -> dict[str, Any]:
        """Scores of D weightings of the samples, each float64 [D]; without weights the plain score, D = 1."""
        weights = np.ones((1, len(stats_SK))) if weights_DS is None else np.asarray(weights_DS, dtype=np.float64)
        return dict(self.module.aggregate(np.asarray(stats_SK, dtype=np.float64), weights))

    def better(self, score: str) -> int:
        """1 when a higher score is better, -1 when a lower one is, 0 when neither."""
        return int(getattr(self.module, "BETTER", {}).get(score, 1))

    def is_rate(self, score: str) -> bool:
        """Whether a score is said to lie in [0, 1]."""
        return score in getattr(self.module, "RATES", ())

    def exchangeable(self, stats_SK: Any) -> Any:
        """The statistics as a paired randomisation test may exchange them between two models."""
        change = getattr(self.module, "exchangeable", None)
        return stats_SK if change is None else change(np.asarray(stats_SK, dtype=np.float64))

    def __call__(self, *, predictions: Sequence[Any], references: Sequence[Any], **options: Any) -> dict[str, float]:
        """The metric's scores as plain floats."""
        stats = self.statistics(predictions=predictions, references=references, **options)
        return {name: float(values[0]) for name, values in self.aggregate(stats).items()}


def names() -> tuple[str, ...]:
    """Names of all metrics, ours and those of installed packages."""
    return REGISTRY.names()


def get(name: str) -> Metric:
    """A metric by name.

    Raises:
        UnknownNameError: no such metric; the known ones are listed.
    """
    return Metric(REGISTRY.get(name))


def __getattr__(name: str) -> Metric:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get(name)


expose(__name__, Metric)
