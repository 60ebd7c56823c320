"""Measure how the simulated teachers drift apart, against the synthetic reports and from each other."""

from typing import Any

from cxr_max import drift
from cxr_max.app.panel import Panel
from cxr_max.drift.page import verdict
from cxr_max.drift.page.data import Data


def run(config: Any) -> Panel:
    """The drift report with its page; fewer draws in a quick demo."""
    out = config.out / "drift"
    report = drift.run(
        config.out / "cxr-max",
        out,
        where=([], [config.out / "world" / "mimic"]),
        overwrite=True,
        draws=500 if config.quick else 2000,
        seed=config.seed,
    )
    (config.out / "teachers.png").write_bytes((out / "teachers.png").read_bytes())
    return Panel(
        f"{out / 'index.html'}: the report; report.json holds its numbers",
        verdict.verdict(Data(report.plain())),
        (
            ("drift/index.html", "the report"),
            ("drift/report.json", "its numbers"),
            ("drift/restricted", "lists of instances"),
        ),
        picture="teachers.png",
        caption="Each synthetic teacher against the synthetic reports, with intervals.",
    )
