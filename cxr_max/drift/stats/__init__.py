"""Statistics of drift, one pure function per file; the file name is the registry.

A statistic is a module with a function `compute`: arrays in, named tuple out, no files, no global seeds. Another
distribution adds one through the entry point group `cxr_max.statistics`.
"""

from collections.abc import Callable
from typing import Any

from cxr_max.plugins import Registry

REGISTRY = Registry("statistic", "cxr_max.drift.stats", "cxr_max.statistics", ("compute",))


def names() -> tuple[str, ...]:
    """Names of all statistics, our own first."""
    return REGISTRY.names()


def get(name: str) -> Callable[..., Any]:
    """The function `compute` of a statistic, by name or by the path of a Python file.

    Raises:
        UnknownNameError: no such statistic; the known ones are listed.
        UsageError: the module defines no `compute`.
    """
    compute: Callable[..., Any] = REGISTRY.get(name).compute
    return compute
