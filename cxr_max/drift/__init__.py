"""How the teachers drift apart: per teacher, between teachers, along the reasoning, between releases.

`stats` holds the pure statistics, one file each. Names arrive when they are first used, so that importing this package
loads neither polars nor scipy.
"""

import importlib
from typing import Any

_MODULES = ("bits", "multiplicity", "permute", "resample", "stats")

__all__ = ["stats"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"cxr_max.drift.{name}")
    raise AttributeError(f"module 'cxr_max.drift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
