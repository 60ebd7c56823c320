"""The largest memory a stage held: of the accelerator where there is one, else of the process."""

import contextlib
import resource
import sys
from pathlib import Path

import torch

_FORGET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def forget_peak() -> None:
    """Begin anew, so that what the process did before is not counted; without effect where the system has no way."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        _FORGET.write_text("5", encoding="ascii")


def peak() -> int:
    """Bytes: the peak since `forget_peak`, of the whole process where the system cannot forget."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if _STATUS.is_file():
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        held = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if held:
            return int(held[0]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, Linux in KiB.
    return int(largest) * (1 if sys.platform == "darwin" else 1024)
