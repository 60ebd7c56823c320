"""Load the release as any user of `datasets` would."""

from typing import Any

import cxr_max


def run(config: Any) -> str:
    """Open the table of trajectories and count its rows."""
    loaded = cxr_max.load_dataset("trajectories", release=config.out / "cxr-max", split="train")
    return f'{len(loaded)} rows of cxr_max.load_dataset("trajectories", split="train")'
