"""The versioned dataset: raw teacher outputs -> tables -> a release folder that is verified, compared and loaded."""

import importlib
from typing import Any

_MODULE_OF = {
    "BuildConfig": "building",
    "build": "building",
    "extend": "derive",
    "load_dataset": "load",
    "Release": "release",
    "open_release": "release",
}
"""Public names and the modules that define them, imported when first used."""

_MODULES = (
    "analyse", "builder", "building", "card", "content", "contracts", "croissant", "derive", "diff", "export", "finish",
    "folder", "hub", "identity", "ingest", "layout", "load", "locate", "manifest", "readers", "release", "resolve",
    "rows", "sample", "shapes", "sources", "swap", "verify", "versions", "writing",
)  # fmt: skip

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"cxr_max.data.{_MODULE_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"cxr_max.data.{name}")
    raise AttributeError(f"module 'cxr_max.data' has no attribute {name!r}")
