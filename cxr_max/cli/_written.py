"""How a verb that wrote something says so; no verb of its own."""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console


def show(written: Any, lines: Iterable[str], *, as_json: bool, **more: Any) -> None:
    """Print what was written, as JSON or in a few lines.

    Args:
        written: a named tuple with a `path`.
        lines: the same in words.
        as_json: print JSON instead.
        **more: stands in the JSON beside it.
    """
    if as_json:
        print(json.dumps({**written._asdict(), "path": str(written.path), **more}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in lines:
        console.print(line)
