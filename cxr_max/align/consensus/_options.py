"""Settings and declarations as the shell gives them."""

import json
from collections.abc import Iterable
from typing import Any

from cxr_max.endpoint import Retention
from cxr_max.errors import UsageError


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`name=value` each; a value is read as JSON where it is JSON (numbers, true, false, null), else as text.

    Raises:
        UsageError: a part without `=`.
    """
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"{pair!r} is not name=value")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


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
