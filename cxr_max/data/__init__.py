"""The versioned dataset: raw teacher outputs -> tables -> a release folder that is verified, compared and loaded."""

import importlib
import pkgutil
from typing import Any

_MODULE_OF = {
    "BuildConfig": "building",
    "build": "building",
    "extend": "derive",
    "load_dataset": "load",
    "rebuild": "rebuilding",
    "Release": "release",
    "open_release": "release",
}
"""Public names and the modules that define them, imported when first used."""

_MODULES = frozenset(m.name for m in pkgutil.iter_modules(__path__))

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"cxr_max.data.{_MODULE_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"cxr_max.data.{name}")
    raise AttributeError(f"module 'cxr_max.data' has no attribute {name!r}")
