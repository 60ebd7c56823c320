"""One progress bar for all long work: on a terminal a bar with remaining time, elsewhere nothing."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from cxr_max.optional import require

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar on standard error that shows count, rate and remaining time.

    Args:
        items: what to go over.
        description: what is being done, in a few words; never restricted content.
        total: number of items, when `len` cannot tell.
    """
    console = require("rich.console").Console(stderr=True)
    progress = require("rich.progress")
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield from bar.track(items, total=total, description=description)
