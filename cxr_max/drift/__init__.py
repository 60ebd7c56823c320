"""How the teachers drift apart: per teacher, between teachers, along the reasoning, between releases.

`report` is the one call most users need; `encode` and `merge` split it by shards; `stats` holds the pure statistics,
one file each. Names arrive when they are first used, so that importing this package loads neither polars nor scipy.
"""

import importlib
from typing import Any

_NAMES = {
    "Config": "config",
    "DriftReport": "result",
    "encode": "reading",
    "from_encoded": "reporting",
    "from_texts": "sources",
    "merge": "encoded",
    "report": "reporting",
    "run": "running",
    "write": "running",
}
_MODULES = ("bits", "config", "encoded", "multiplicity", "permute", "resample", "stats", "weights")

__all__ = ["Config", "DriftReport", "encode", "from_encoded", "from_texts", "merge", "report", "stats"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"cxr_max.drift.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"cxr_max.drift.{name}")
    raise AttributeError(f"module 'cxr_max.drift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_MODULES])
