"""Extractors behind one interface: a module here, or an entry point of the group `cxr_max.extractors`.

A module defines `build(**options)`, which gives an object with `name`, `version`, `config_hash` (stored with every
result) and `extract(text, *, role="candidate") -> Extraction`.
"""

from types import ModuleType

from cxr_max.plugins import Registry

REGISTRY = Registry("extractor", __name__, "cxr_max.extractors", ("build",))


def names() -> tuple[str, ...]:
    """Names of all extractors."""
    return REGISTRY.names()


def get(name: str) -> ModuleType:
    """The module of an extractor.

    Raises:
        UnknownNameError: no such extractor; the known ones are listed.
    """
    return REGISTRY.get(name)
