"""Loading a release by `load_dataset("cxr-max")`, beside `load_dataset("parquet")` on the same files.

    python -m benchmarks.load_release [--tiny]

The release is that of the text-only synthetic world (24,426 instances x 7 teachers), built without findings, or the one
in `$CXR_MAX_BENCH_RELEASE`. Measured in one process, both ways in turn: the first load, which writes Arrow files and
on our side compares every file with its SHA-256 (cold); later loads (warm, median of 9); the first row of a stream;
and what the import hook costs.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common

INSTANCES, TINY, REPEATS = 24_426, 60, 9
ALLOWED = 1.3
TABLE = "trajectories"


def main(tiny: bool) -> None:
    """Build or take a release, load it both ways, measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CXR_MAX_CACHE"] = str(folder / "cache")
        os.environ["HF_HUB_OFFLINE"] = "1"
        hook = _hook_ms()
        given = os.environ.get("CXR_MAX_BENCH_RELEASE")
        release = Path(given) if given and not tiny else _release(folder, TINY if tiny else INSTANCES)
        # Our loads say which release they take; a terminal would be timed along.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            figures = _measure(release, folder / "plain")
        common.write("load_release", figures | {"hook_ms": hook}, tiny=tiny, packages=("datasets", "pyarrow"))


def _measure(release: Path, cache: Path) -> dict[str, Any]:
    import datasets

    import cxr_max

    datasets.disable_progress_bars()
    found = cxr_max.data.locate.read(release).files(TABLE)
    files = {split: [str(release / f) for f in names] for split, names in found.items()}

    def plain(**more: Any) -> Any:
        return datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache), **more)

    def ours(**more: Any) -> Any:
        return datasets.load_dataset("cxr-max", TABLE, release=str(release), **more)

    def door() -> Any:
        return cxr_max.load_dataset(TABLE, release=release)

    stream = {"streaming": True, "split": "train"}
    cold = {"parquet_s": _once(plain), "cxr_max_s": _once(ours)}
    warm = _in_turn({"parquet": plain, "cxr_max": ours, "cxr_max_load_dataset": door})
    first = _in_turn({"parquet": lambda: next(iter(plain(**stream))), "cxr_max": lambda: next(iter(ours(**stream)))})
    return {
        "rows": sum(map(len, door().values())),
        "parquet_mb": round(sum(Path(f).stat().st_size for fs in files.values() for f in fs) / 1e6, 1),
        "cold": cold,
        "warm_ms": warm,
        "ratio_warm": round(warm["cxr_max"] / warm["parquet"], 2),
        "allowed_ratio": ALLOWED,
        "stream_first_row_ms": first,
    }


def _release(folder: Path, instances: int) -> Path:
    import cxr_max

    given = os.environ.get("CXR_MAX_BENCH_RAW")
    raw = Path(given) if given and instances == INSTANCES else folder / "world" / "raw"
    if not raw.is_dir():
        cxr_max.synth.write_world(cxr_max.synth.WorldConfig(instances=instances, images=False), folder / "world")
    return Path(cxr_max.data.build([raw], folder / "release", findings=False, jobs=os.cpu_count() or 1).release.path)


def _hook_ms() -> float:
    import cxr_max

    cxr_max.unregister()
    begun = time.perf_counter()
    cxr_max.register()
    return round(1000 * (time.perf_counter() - begun), 3)


def _once(load: Callable[[], object]) -> float:
    begun = time.perf_counter()
    load()
    return round(time.perf_counter() - begun, 2)


def _in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each way; the ways take turns, so that what else runs meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, load in ways.items():
            begun = time.perf_counter()
            load()
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: round(statistics.median(times), 1) for name, times in taken.items()}


if __name__ == "__main__":
    main(tiny="--tiny" in sys.argv)
