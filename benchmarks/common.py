"""What every benchmark shares: timing, the machine, and the result file with commit and versions."""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import page
from cxr_max import doctor

RESULTS = Path(__file__).resolve().parent / "results"
LOAD = os.getloadavg()[0]
"""One-minute load average when the benchmark began, before its own work counts."""


def seconds(work: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Wall and processor seconds of a call: the median of some repeats, children's time included."""
    rows = []
    for _ in range(repeats):
        cpu, wall = _cpu(), time.perf_counter()
        work()
        rows.append((time.perf_counter() - wall, _cpu() - cpu))
    return {
        n: round(statistics.median(c), 4) for n, c in zip(("wall_s", "cpu_s"), zip(*rows, strict=True), strict=True)
    }


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def peak_mib() -> float:
    """The largest resident set this process or a finished child has had so far, MiB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(k).ru_maxrss for k in kinds) / 1024, 1)


class PeakPss:
    """Samples what this process and its descendants hold together, shared pages counted once (Linux).

    Attributes:
        mib: the largest sum of proportional set sizes seen so far, MiB; NaN where the system does not tell.
    """

    def __init__(self, every: float = 0.1) -> None:
        self.mib = float("nan")
        self._every, self._done = every, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakPss":
        """Begin to sample."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(self._every):
            held = sum(map(_pss_kib, _family(os.getpid()))) / 1024
            if held:
                self.mib = round(held if math.isnan(self.mib) else max(held, self.mib), 1)


def _family(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [pid for child in path.read_text().split() for pid in _family(int(child))]
    return found


def _pss_kib(process: int) -> int:
    """Proportional set size of a process in KiB; 0 when it is gone or the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def write(name: str, figures: dict[str, Any], *, tiny: bool, packages: Iterable[str] = ()) -> None:
    """Print the figures; at full size also write `benchmarks/results/<name>.json` and the page of all results.

    Args:
        name: name of the benchmark.
        figures: what was measured, with units in the keys.
        tiny: at tiny size nothing is written: those figures mean nothing.
        packages: distributions whose versions matter beside our own.
    """
    result = {
        "benchmark": name,
        "command": f"python -m benchmarks.{name}",
        "commit": doctor.commit(),
        "modified": bool(
            _git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":!{RESULTS}", f":!{page.PAGE}")
        ),
        "date": datetime.date.today().isoformat(),
        "machine": doctor.machine(),
        "load_at_start": round(LOAD, 2),
        "versions": {p: importlib.metadata.version(p) for p in ("cxr-max", *packages)},
        "figures": figures,
    }
    print(json.dumps(result if not tiny else {"benchmark": name, "tiny": True, "figures": figures}, indent=2))
    if not tiny:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        page.PAGE.write_text(page.render(), encoding="utf-8")


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run(main: Callable[[bool], None], doc: str | None) -> None:
    """Command line of one benchmark: `[--tiny]`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    main(parser.parse_args().tiny)
