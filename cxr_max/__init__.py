"""CXR-MAX: a versioned dataset of drifting teachers, MIMIC-CXR joins, drift statistics, APO training and evaluation.

Importing this loads none of polars, datasets, torch or transformers; every name below arrives when it is first used.
"""

import importlib
from typing import Any

from cxr_max.schema import FINDINGS
from cxr_max.teachers import TEACHERS

__version__ = "0.1.0"

__all__ = ["FINDINGS", "TEACHERS", "__version__"]

_PACKAGES = ("align", "app", "data", "drift", "evaluation", "findings", "mimic", "recipes", "synth")
_MODULES = ("doctor", "errors", "roots", "schema", "teachers")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES or name in _MODULES:
        return importlib.import_module(f"cxr_max.{name}")
    raise AttributeError(f"module 'cxr_max' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES, *_MODULES])
