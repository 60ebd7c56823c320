"""Options that come as one text from the command line: `name=value,...`."""

from cxr_max.errors import UsageError


def pairs(text: str, option: str) -> dict[str, str]:
    """`name=value,...` as a dict.

    Args:
        text: as it was typed; empty parts do not count.
        option: of the command line, for messages.

    Raises:
        UsageError: a part without `=`, or a name given twice.
    """
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals or not name:
            raise UsageError(f"{part!r} in {option} is not name=value")
        if name in found:
            raise UsageError(f"{name} stands twice in {option}")
        found[name] = value
    return found
