"""What stands on top of everything else: the demo of the main job."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "demo":
        return importlib.import_module("cxr_max.app.demo")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
