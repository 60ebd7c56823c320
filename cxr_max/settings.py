"""Settings as the shell gives them: `key=value`."""

from collections.abc import Iterable

from cxr_max.errors import UsageError


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
