"""Predictors, one file each: models and baselines that answer questions.

A predictor module defines NAME and `make(**options)`, which gives a `types.Predictor`. One that needs the questions and
their truths beforehand (the majority baseline) defines `prepare(items)` on what it makes.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cxr_max.errors import UsageError
from cxr_max.evaluation.types import Predictor
from cxr_max.plugins import Registry, expose

REGISTRY = Registry("predictor", __name__, "cxr_max.predictors", ("NAME", "make"))


def names() -> tuple[str, ...]:
    """Names of all predictors."""
    return REGISTRY.names()


def make(name: str, options: Mapping[str, Any]) -> Predictor:
    """Make a predictor from text options, as the command line has them.

    Raises:
        UnknownNameError: no such predictor.
        UsageError: an option it does not know, or one that is missing.
    """
    function = _maker(name)
    try:
        inspect.signature(function).bind(**options)
    except TypeError as e:
        known = ", ".join(inspect.signature(function).parameters) or "none"
        raise UsageError(f"model {name}: {e}; its arguments: {known}", next="--model-args name=value,...") from e
    predictor: Predictor = function(**options)
    return predictor


def parse_model_args(text: str) -> dict[str, str]:
    """`name=value,...` as a dict.

    Raises:
        UsageError: a part without `=`.
    """
    parts = [p for p in text.split(",") if p.strip()]
    for part in parts:
        if "=" not in part:
            raise UsageError(f"{part!r} in --model-args is not name=value")
    pairs = (p.partition("=") for p in parts)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _maker(name: str) -> Callable[..., Predictor]:
    function: Callable[..., Predictor] = REGISTRY.get(name).make
    return function


def __getattr__(name: str) -> Callable[..., Predictor]:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _maker(name)


expose(__name__, lambda module: module.make)
