"""The peak is that of the stage, not of what the process did before."""

import numpy as np

from cxr_max.align import memory

MIB = 2**20


def _hold(mib: int) -> None:
    held = np.ones(mib * MIB, dtype=np.uint8)
    assert held.sum() == mib * MIB


def test_what_was_held_before_is_forgotten_and_what_is_held_after_is_counted() -> None:
    _hold(300)
    memory.forget_peak()
    begin = memory.peak()
    _hold(20)
    small = memory.peak()
    assert 15 * MIB < small - begin < 100 * MIB
    _hold(200)
    assert memory.peak() - begin > 180 * MIB


def test_without_a_system_that_forgets_the_peak_is_that_of_the_process(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "_FORGET", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    memory.forget_peak()
    assert memory.peak() > 10 * MIB
