"""Join the release to the MIMIC-shaped root, with an account of what did not match."""

import json
from typing import Any

import cxr_max
from cxr_max import mimic
from cxr_max.app.panel import Panel
from cxr_max.folders import write_atomic

SHOWN = ("image_status", "report_status", "label_status", "agreement", "evaluation_sets")


def run(config: Any) -> Panel:
    """Coverage as JSON; the joined rows themselves stay lazy."""
    joined = mimic.join(cxr_max.open_release(config.out / "cxr-max"), config.out / "world" / "mimic")
    coverage = joined.coverage.counts()
    path = config.out / "coverage.json"
    write_atomic(path, json.dumps(coverage, indent=2, default=str) + "\n")
    rows = ((what.replace("_", " "), value, str(n)) for what in SHOWN for value, n in coverage[what].items())
    return Panel(
        f"{path}: what matched and what did not",
        (f"{coverage['instances']:,} images with {coverage['trajectories']:,} trajectories; none dropped uncounted.",),
        (("coverage.json", "the same by split and teacher"),),
        table=(("what", "value", "images"), *rows),
    )
