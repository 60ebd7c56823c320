"""Predictors, one file each: models and baselines that answer questions.

A predictor module defines NAME and `make(**options)`, which gives a `types.Predictor`. One that needs the questions and
their truths beforehand (the majority baseline) defines `prepare(items)` on what it makes.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cxr_max.errors import UsageError
from cxr_max.evaluation.types import Predictor
from cxr_max.plugins import Registry, expose
from cxr_max.settings import pairs

REGISTRY = Registry("predictor", __name__, "cxr_max.predictors", ("NAME", "make"))


def names() -> tuple[str, ...]:
    """Names of all predictors."""
    return REGISTRY.names()


def make(name: str, options: Mapping[str, Any], *, adapter: str = "", batch_size: int | None = None) -> Predictor:
    """Make a predictor from text options, as the command line has them; arguments and errors as `maker`."""
    return maker(name, options, adapter=adapter, batch_size=batch_size)()


def maker(
    name: str, options: Mapping[str, Any], *, adapter: str = "", batch_size: int | None = None
) -> Callable[[], Predictor]:
    """What makes a predictor: its name and options are checked now, the model is loaded when it is called.

    Args:
        name: of the predictor.
        options: of its `make`.
        adapter: folder of an adapter; only for predictors that take one.
        batch_size: questions in one forward, for predictors that compute in batches; None = it finds one itself.

    Raises:
        UnknownNameError: no such predictor.
        UsageError: an option it does not know, or one that is missing.
    """
    function = _make_of(name)
    known = inspect.signature(function).parameters
    options = dict(options)
    if adapter:
        options["adapter"] = adapter
    if batch_size is not None and "batch_size" in known:
        options.setdefault("batch_size", batch_size)
    try:
        inspect.signature(function).bind(**options)
    except TypeError as e:
        raise UsageError(
            f"model {name}: {e}; its arguments: {', '.join(known) or 'none'}", next="--model-args name=value,..."
        ) from e
    return partial(function, **options)


def parse_model_args(text: str) -> dict[str, str]:
    """`name=value,...` as a dict.

    Raises:
        UsageError: a part without `=`, or a name given twice.
    """
    return pairs(text.split(","), "--model-args")


def parse_batch_size(text: str) -> int | None:
    """A number of questions, or None for `auto`.

    Raises:
        UsageError: neither.
    """
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size {text!r}; allowed: auto, or a whole number from 1")
    return int(text)


def _make_of(name: str) -> Callable[..., Predictor]:
    function: Callable[..., Predictor] = REGISTRY.get(name).make
    return function


def __getattr__(name: str) -> Callable[..., Predictor]:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _make_of(name)


expose(__name__, lambda module: module.make)
