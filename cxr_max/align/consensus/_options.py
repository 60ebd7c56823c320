"""Settings and declarations as the shell gives them."""

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from cxr_max import settings
from cxr_max.endpoint import Retention
from cxr_max.errors import UsageError


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` each; a value is read as JSON where it is JSON (numbers, true, false, null), else as text.

    Raises:
        UsageError: a part without `=`, or a key given twice.
    """
    found: dict[str, Any] = {}
    for name, value in settings.pairs(pairs).items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def hyper_of(strategy: ModuleType, given: Mapping[str, Any]) -> Any:
    """A strategy's settings from values by name, each as the kind of value the strategy declares.

    The shell's `temperature=1` and Python's `1.0` are the same setting, and have to be written alike in a recipe.

    Raises:
        UsageError: a name it does not have, or a value of another kind.
    """
    known = [f.name for f in fields(strategy.Hyper)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(f"{strategy.NAME} has no setting {', '.join(unknown)}; known: {', '.join(known)}")
    hints = typing.get_type_hints(strategy.Hyper)
    return strategy.Hyper(**{name: _as_declared(name, value, hints[name]) for name, value in given.items()})


def _as_declared(name: str, value: Any, declared: Any) -> Any:
    """A number, text or truth value as declared; a list where a tuple is; anything else as it is."""
    allowed = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
    kinds = tuple(typing.get_origin(a) or a for a in allowed)
    if not all(k in (bool, int, float, str, tuple, types.NoneType) for k in kinds) or type(value) in kinds:
        return value
    if isinstance(value, list) and tuple in kinds:
        return tuple(value)
    if type(value) is int and float in kinds:
        return float(value)
    if type(value) is float and int in kinds and value.is_integer():
        return int(value)
    raise UsageError(f"{name}={value!r}; allowed: {' or '.join(k.__name__ for k in kinds)}")


def parse_retention(text: str | None) -> Retention | None:
    """`PROVIDER;DATE;WORDING`, or None.

    Raises:
        UsageError: it has other parts.
    """
    if not text:
        return None
    parts = [p.strip() for p in text.split(";", 2)]
    if len(parts) != len(("provider", "date", "wording")):
        raise UsageError(f"{text!r} is not PROVIDER;DATE;WORDING")
    return Retention(*parts)
