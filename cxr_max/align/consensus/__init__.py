"""The consensus strategies: a file here, or in another package, is a strategy of the file's name.

A strategy module defines `NAME`, `Hyper` (a frozen dataclass of its settings) and `write(panels, hyper, work) ->
Iterator[Consensus | LeftOut]`: for every `Panel` (an instance with its teachers' answers) one consensus trajectory, or
the reason why there is none. It may define `describe(hyper, work) -> Mapping`, what else the recipe has to name (a
model's revision), called before any work, which is also where it refuses what cannot run; `images(hyper) -> bool`,
whether it looks at images; and `ASKS = True` when a model writes, the one `ConsensusConfig.model` names.
`run(ConsensusConfig(...))` makes the next version of a release from it.
"""

from types import ModuleType
from typing import Any

from cxr_max.plugins import Registry, lazy

REGISTRY = Registry("consensus strategy", "cxr_max.align.consensus", "cxr_max.consensus", ("NAME", "Hyper", "write"))

_HOME = {
    "Answer": "_panels",
    "Consensus": "_panels",
    "ConsensusConfig": "_running",
    "ConsensusResult": "_running",
    "LeftOut": "_panels",
    "Panel": "_panels",
    "Support": "_panels",
    "Work": "_panels",
    "parse_retention": "_options",
    "parse_settings": "_options",
    "run": "_running",
}

_find, __dir__ = lazy(__name__, _HOME)


def __getattr__(name: str) -> Any:
    return _find(name)


def names() -> tuple[str, ...]:
    """All strategies: our own, then those of installed packages."""
    return REGISTRY.names()


def get(name: str) -> ModuleType:
    """The module of a strategy, by name or by the path of a Python file.

    Raises:
        UnknownNameError: no such strategy; the known ones are listed.
        UsageError: the file lacks a name a strategy must define.
    """
    return REGISTRY.get(name)


def asks(name: str) -> bool:
    """Whether a model writes a strategy's consensus; errors as `get`."""
    return bool(getattr(get(name), "ASKS", False))
