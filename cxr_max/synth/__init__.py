"""A MIMIC-shaped world with known truth, and seven simulated teachers with known drift."""

import importlib
from typing import Any

_WHERE = {
    "WorldConfig": "config",
    "validate": "config",
    "World": "world",
    "make_world": "world",
    "profiles": "profiles",
    "draw_errors": "teachers",
    "write_world": "write",
}

__all__ = ["World", "WorldConfig", "draw_errors", "make_world", "profiles", "validate", "write_world"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"cxr_max.synth.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'cxr_max.synth' has no attribute {name!r}")
