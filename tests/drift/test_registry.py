"""The statistics are found by file name, and those of other packages through the entry point group."""

import importlib.metadata
from pathlib import Path

import pytest

from cxr_max import drift
from cxr_max.errors import UnknownNameError, UsageError


def test_every_statistic_is_found_and_computes() -> None:
    assert {"krippendorff_alpha", "energy_distance", "matched_shuffle"} <= set(drift.stats.names())
    for name in drift.stats.names():
        assert callable(drift.stats.get(name))
    assert drift.stats.get("jensen_shannon")([(1, 0), (0, 1)]).value == pytest.approx(1.0)


def test_an_unknown_statistic_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="krippendorff_alpha"):
        drift.stats.get("kripendorf")


def test_a_file_is_a_statistic_if_it_computes(tmp_path: Path) -> None:
    good, bad = tmp_path / "mine.py", tmp_path / "other.py"
    good.write_text('"""Mine."""\n\n\ndef compute(x):\n    return 2 * x\n')
    bad.write_text("x = 1\n")
    assert drift.stats.get(str(good))(3) == 6
    with pytest.raises(UsageError, match="compute"):
        drift.stats.get(str(bad))


def test_another_package_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("theirs", "cxr_max.drift.stats.pabak", "cxr_max.statistics")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group: [point] if group == "cxr_max.statistics" else []
    )
    assert "theirs" in drift.stats.names()
    assert drift.stats.get("theirs") is drift.stats.get("pabak")
