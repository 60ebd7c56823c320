"""Join the release to the MIMIC-shaped root, with an account of what did not match."""

import json
from typing import Any

import cxr_max
from cxr_max import mimic
from cxr_max.folders import write_atomic


def run(config: Any) -> str:
    """Coverage as JSON; the joined rows themselves stay lazy."""
    joined = mimic.join(cxr_max.open_release(config.out / "cxr-max"), config.out / "world" / "mimic")
    coverage = joined.coverage.counts()
    path = config.out / "coverage.json"
    write_atomic(path, json.dumps(coverage, indent=2, default=str) + "\n")
    return f"{path}: what matched and what did not"
