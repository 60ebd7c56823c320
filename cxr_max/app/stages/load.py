"""Load the release as any user of `datasets` would."""

from typing import Any

import cxr_max
from cxr_max.app.panel import Panel


def run(config: Any) -> Panel:
    """Open the table of trajectories and count its rows."""
    loaded = cxr_max.load_dataset("trajectories", release=config.out / "cxr-max", split="train")
    note = f'{len(loaded)} rows of cxr_max.load_dataset("trajectories", split="train")'
    return Panel(note, (f"{note}.",))
