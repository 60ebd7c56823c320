"""CXR-MAX: a versioned dataset of drifting teachers, MIMIC-CXR joins, drift statistics, APO training and evaluation.

Importing this loads none of polars, datasets, torch or transformers; every name below arrives when it is first used.
It also makes `datasets.load_dataset("cxr-max", ...)` work, unless `CXR_MAX_NO_HOOK=1`.
"""

import importlib
import os
from typing import Any

from cxr_max.hook import register, unregister
from cxr_max.schema import FINDINGS
from cxr_max.teachers import TEACHERS

__version__ = "0.1.0"

__all__ = ["FINDINGS", "TEACHERS", "__version__", "load_dataset", "open_release", "register", "unregister"]

_PACKAGES = ("align", "app", "data", "drift", "evaluation", "findings", "mimic", "recipes", "synth")
_MODULES = ("doctor", "errors", "roots", "schema", "teachers")
_LAZY = {"load_dataset": "data.load", "open_release": "data.release"}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES or name in _MODULES:
        return importlib.import_module(f"cxr_max.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(f"cxr_max.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cxr_max' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES, *_MODULES})


if os.environ.get("CXR_MAX_NO_HOOK") != "1":
    register()
