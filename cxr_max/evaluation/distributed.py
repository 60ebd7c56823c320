"""Several processes of one run, started by `accelerate launch` or `torchrun`: whole batches are dealt out among them.

Every process writes a journal of its own; at the end the first one puts them together in the order of the questions, so
that the file equals that of a single process. After a kill the next run, with however many processes, takes over what
lies there.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from cxr_max.optional import require

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long a process waits for the slowest one; the usual half an hour would end a run whose shares are uneven."""


@dataclass(frozen=True)
class Processes:
    """The processes of this run.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
        wait: returns when all have come here.
    """

    rank: int = 0
    size: int = 1
    wait: Callable[[], None] = lambda: None

    @property
    def is_main(self) -> bool:
        """Whether this one does what is done once."""
        return self.rank == 0

    def share(self, batches: Sequence[T]) -> list[T]:
        """The batches that are this process's."""
        return list(batches[self.rank :: self.size])


def processes() -> Processes:
    """The processes of the run this one belongs to, by the environment that their launcher sets."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Processes()
    state = require("accelerate", extra="train").PartialState(timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, state.wait_for_everyone)
