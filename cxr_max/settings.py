"""Settings as the shell gives them: `key=value`."""

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from cxr_max.errors import UnknownNameError, UsageError


def pairs(parts: Iterable[str], option: str = "") -> dict[str, str]:
    """`key=value` each, as a dict; blanks around either do not count, empty parts neither.

    Args:
        parts: as they were typed.
        option: of the command line they belong to, for messages.

    Raises:
        UsageError: a part without `=` or without a key, or a key given twice.
    """
    found: dict[str, str] = {}
    where = f" in {option}" if option else ""
    for part in filter(str.strip, parts):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals or not key:
            raise UsageError(f"{part!r}{where} is not key=value")
        if key in found:
            raise UsageError(f"{key} was given twice{where}")
        found[key] = value
    return found


def typed(given: Mapping[str, Any], declared: type, kind: str) -> dict[str, Any]:
    """Options, as text or as values, as what a recipe's dataclass declares them to be; `shrink` is a switch of all.

    Args:
        given: options by name.
        declared: the dataclass.
        kind: what one is called in messages.

    Raises:
        UnknownNameError: it declares no such option.
        UsageError: a value is of another kind.
    """
    hints = typing.get_type_hints(declared) | {"shrink": bool}
    unknown = [k for k in given if k not in hints]
    if unknown:
        raise UnknownNameError.of(kind, ", ".join(unknown), hints)
    return {k: _value(k, v, hints[k]) for k, v in given.items()}


def _value(key: str, value: Any, kind: Any) -> Any:
    """Text as what the option is declared to be."""
    if not isinstance(value, str):
        return value
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value.lower() == "none" and types.NoneType in kinds:
        return None
    wanted = next(k for k in kinds if k is not types.NoneType)
    if wanted is bool:
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{key}={value!r}; allowed: true or false")
        return value.lower() == "true"
    if typing.get_origin(wanted) is tuple:
        return tuple(v for v in value.split(",") if v)
    try:
        return wanted(value)
    except (TypeError, ValueError):
        raise UsageError(f"{key}={value!r}; allowed: {wanted.__name__}") from None
