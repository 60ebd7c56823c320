"""Autonomous Preference Optimization (APO): one consensus trajectory against the teachers' own, in one pass.

"APO" here is Autonomous Preference Optimization; `apo_zero` and `apo_down` of TRL and Liger belong to Anchored
Preference Optimization, another method. Names below arrive when they are first used, since they load torch.
"""

import importlib
from typing import Any

_HOME = {
    "GroupLogps": "cxr_max.align.types",
    "LossOutput": "cxr_max.align.types",
    "PreferenceGroup": "cxr_max.align.types",
    "RenderedGroup": "cxr_max.align.types",
    "group_loss": "cxr_max.align.losses",
    "naive_logps": "cxr_max.align.logprobs",
    "packed_logps": "cxr_max.align.logprobs",
    "verify_exact": "cxr_max.align.logprobs",
    "reference_logps": "cxr_max.align.reference",
}
_MODULES = (
    "attention",
    "features",
    "logprobs",
    "losses",
    "methods",
    "negatives",
    "pack",
    "reference",
    "render",
    "selection",
    "templates",
    "types",
)

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
