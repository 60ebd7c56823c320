"""One progress bar for all long work: on a terminal a bar with remaining time, elsewhere nothing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from cxr_max.optional import require

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar on standard error that shows count, rate and remaining time.

    Args:
        items: what to go over.
        description: what is being done, in a few words; never restricted content.
        total: number of items, when `len` cannot tell.
    """
    with _bar() as bar:
        yield from bar.track(items, total=total, description=description)


def track_weighted(items: Sequence[tuple[T, float]], description: str) -> Iterator[T]:
    """Iterate over items of unequal length: the remaining time goes by the weights of those that are done.

    Args:
        items: what to go over, each with about the share of the time it takes, in any unit.
        description: what is being done, in a few words; never restricted content.
    """
    # Stages are long: the speed is that of the whole run, not of the last half minute.
    with _bar(counts=False, speed_estimate_period=86_400) as bar:
        task = bar.add_task(description, total=sum(weight for _, weight in items))
        for item, weight in items:
            yield item
            bar.update(task, advance=weight)


def _bar(*, counts: bool = True, **options: Any) -> Any:
    console = require("rich.console").Console(stderr=True)
    progress = require("rich.progress")
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn() if counts else progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True, **options)
