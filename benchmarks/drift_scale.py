"""Drift report at full size: `python -m benchmarks.drift_scale [--tiny] [--world DIR]`.

A simulated world of 24,426 instances and 170,982 trajectories, built as a release with its findings and without; then
`cxr-max drift` on both as a user calls it (tfidf, 2,000 draws, everything but the encoder), each in a process of its
own whose time and peak memory are measured. Allowed: 10 minutes with findings, 15 without, 4 GB, two cores. Beside it:
a bootstrap draw on sufficient statistics against scoring a release again.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from cxr_max import data, drift, mimic, synth
from cxr_max.drift import per_teacher, ratios
from cxr_max.drift.stats import finding_alignment

FULL, TINY = 24_426, 40
BUDGETS_S = {"with_findings": 600, "without_findings": 900}
BUDGET_MIB = 4096
QUICK = ["--draws", "50", "--permutations", "19", "--embedding-n", "20"]


def main(tiny: bool = False, world: Path | None = None) -> None:
    """Make the releases, time every report, print and write the figures."""
    with tempfile.TemporaryDirectory() as folder:
        base = world or Path(folder)
        prepare(base, TINY if tiny else FULL)
        figures: dict[str, Any] = {"instances": TINY if tiny else FULL, "budget_mib": BUDGET_MIB}
        for name, options in (("with_findings", []), ("without_findings", ["--jobs", "2"])):
            out = base / f"report-{name}"
            shutil.rmtree(out, ignore_errors=True)
            found = timed(base / name, base / "mimic", out, [*options, *(QUICK if tiny else [])])
            figures[name] = {**found, "budget_s": BUDGETS_S[name], "page_mb": round(_size(out / "index.html") / 1e6, 2)}
        figures["bootstrap"] = bootstrap_ratio(base, 50 if tiny else 2000)
    common.write("drift_scale", figures, tiny=tiny, packages=("numpy", "polars", "scikit-learn"))


def prepare(base: Path, instances: int) -> None:
    """The world and its two releases, where they are not there yet."""
    if not (base / "mimic").is_dir():
        synth.write_world(synth.WorldConfig(instances=instances, seed=0, images=False), base)
    for name in BUDGETS_S:
        if not (base / name).is_dir():
            data.build([base / "raw"], base / name, findings=name == "with_findings")


def timed(release: Path, root: Path, out: Path, options: list[str]) -> dict[str, float]:
    """Wall and processor seconds and peak memory of one `cxr-max drift`, its own children included."""
    command = [sys.executable, "-c", "from cxr_max.cli import main; main()", "drift", release, "--mimic-root", root]
    with tempfile.TemporaryDirectory() as cache:
        begun = time.perf_counter()
        started = subprocess.Popen(
            [*map(str, command), "--out", str(out), *options], stdout=subprocess.DEVNULL,
            env={**os.environ, "CXR_MAX_CACHE": cache},
        )  # fmt: skip
        _, status, used = os.wait4(started.pid, 0)
        wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"cxr-max drift ended with status {status}")
    spent = used.ru_utime + used.ru_stime
    return {"wall_s": round(wall, 1), "cpu_s": round(spent, 1), "peak_mib": round(used.ru_maxrss / 1024)}


def _size(path: Path) -> int:
    return path.stat().st_size


def bootstrap_ratio(base: Path, draws: int) -> dict[str, Any]:
    """Processor time of one draw on cached sums, against building and scoring the sets of the release again."""
    release = data.open_release(base / "with_findings")
    config = drift.Config(draws=draws)
    encoded = drift.encode(mimic.join(release, mimic.open_root(base / "mimic")), config)
    units = per_teacher.units(encoded)

    def rescore() -> list[ratios.Ratio]:
        scored = per_teacher.score(encoded, config)
        overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, encoded))
        return per_teacher.overlap_ratios(units, overlap, scored.has_I[encoded.instance_T], finding="all")

    once = common.seconds(rescore, 1)
    found = rescore()
    many = common.seconds(lambda: ratios.estimate(units, found, [], encoded.vocabulary.teachers, (draws, 0)), 1)
    per_draw = many["cpu_s"] / draws
    return {
        "rescore_cpu_s": once["cpu_s"], "draw_cpu_s": round(per_draw, 6), "ratio": round(once["cpu_s"] / per_draw)
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    parser.add_argument("--world", type=Path, help="keep world, releases and reports here, or use what is here")
    given = parser.parse_args()
    main(given.tiny, given.world)
