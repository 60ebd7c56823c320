"""What benchmarks measure with: memory of a family of processes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import common

CHILD = (
    "import time; held = bytearray(96 << 20); held[::4096] = b'x' * len(held[::4096]); print(flush=True); time.sleep(9)"
)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux's /proc")
def test_memory_of_children_counts_while_they_live() -> None:
    with common.PeakPss(every=0.02) as before:
        time.sleep(0.2)
    with common.PeakPss(every=0.02) as held:
        process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            deadline = time.monotonic() + 8
            while not held.mib > before.mib + 90 and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            process.kill()
            process.communicate()
    assert before.mib > 5
    assert 90 < held.mib - before.mib < 160
