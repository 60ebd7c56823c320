"""Evaluation: run a model once, grade its stored outputs many times, compare with intervals and paired tests."""

import importlib
from typing import Any

_MODULES = ("metrics",)
_NAMES = {"as_evaluate": "cxr_max.evaluation.hub"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
