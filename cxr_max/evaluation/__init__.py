"""Evaluation: run a model once, grade its stored outputs many times, compare with intervals and paired tests."""

import importlib
from typing import Any

_MODULES = ("metrics", "tasks", "predictors")
_NAMES = {
    "Context": "types",
    "EvalConfig": "running",
    "as_evaluate": "hub",
    "grade": "grading",
    "parse_answer": "answers",
    "parse_model_args": "predictors",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
