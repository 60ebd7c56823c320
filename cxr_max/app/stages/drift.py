"""Measure how the simulated teachers drift apart, against the synthetic reports and from each other."""

from typing import Any

from cxr_max import drift


def run(config: Any) -> str:
    """The drift report as JSON; fewer draws in a quick demo."""
    out = config.out / "drift"
    drift.run(
        config.out / "cxr-max",
        out,
        where=([], [config.out / "world" / "mimic"]),
        overwrite=True,
        draws=500 if config.quick else 2000,
        seed=config.seed,
    )
    return f"{out / 'index.html'}: the report; report.json holds its numbers"
