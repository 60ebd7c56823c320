"""Stages kept between runs: a killed run goes on where it was, and writes what an uninterrupted one writes."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_max import drift
from cxr_max.drift import encoded as encoding
from cxr_max.drift import parts, reading, running, stages, twosample
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.sources import TextTables
from cxr_max.drift.stages import Store

FEW = {"draws": 20, "permutations": 19, "shuffles": 2, "embedding_n": 20, "by": ["view"], "limit": 25}
KILLED = f"""
import os, signal, sys
from pathlib import Path
from cxr_max.drift import parts, running
parts.families.bin_tests = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
running.run(None, Path(sys.argv[1]), texts=(Path(sys.argv[2]), Path(sys.argv[3])), **{FEW!r})
"""


def test_what_is_kept_comes_back_bit_for_bit(tmp_path: Path, encoded: Encoded) -> None:
    store = Store(tmp_path / "kept")
    made = {
        "x": [0.1, 1 / 3, float("nan"), float("inf"), 1e-300],
        "n": np.int64(3),
        "t": (1, None, "é\u202e"),
        "b": True,
    }
    store.value("v", lambda: made)
    back = Store(tmp_path / "kept").value("v", pytest.fail)
    assert back["x"][:2] == made["x"][:2]
    assert np.isnan(back["x"][2])
    assert (back["n"], back["t"], back["b"]) == (3, [1, None, "é\u202e"], True)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "kept").iterdir()} == {0o600}
    again = encoding.from_arrays(store.arrays("e", lambda: encoding.to_arrays(encoded)))
    third = encoding.from_arrays(store.arrays("e", pytest.fail))
    for found in (again, third):
        for name, array in encoding.to_arrays(encoded).items():
            np.testing.assert_array_equal(encoding.to_arrays(found)[name], array)
        assert found.vocabulary == encoded.vocabulary
    assert store.under("new").value("v", lambda: 1) == 1
    with pytest.raises(TypeError, match="set"):
        store.value("bad", lambda: {1, 2})
    store.remove()
    assert not (tmp_path / "kept").exists()


def test_nothing_is_kept_without_a_folder(tmp_path: Path) -> None:
    assert Store().value("v", lambda: 1) == 1
    assert Store().value("v", lambda: 2) == 2
    assert not list(tmp_path.iterdir())


def test_other_data_settings_or_code_lead_elsewhere(
    tables: TextTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path))
    held = {k: tables.scan(k).collect() for k in ("instances", "trajectories", "references")}
    shuffled = {k: v.sample(fraction=1.0, shuffle=True, seed=1) for k, v in held.items()}
    assert stages.fingerprint(TextTables(shuffled, tables.manifest)) == stages.fingerprint(tables)
    other = held | {"references": held["references"].with_columns(pl.lit("No effusion.").alias("findings"))}
    folders = [
        stages.open_store(TextTables(t, tables.manifest), None, c)._folder
        for t, c in ((held, drift.Config()), (other, drift.Config()), (held, drift.Config(seed=1)))
    ]
    folders.append(stages.open_store(tables, tables, drift.Config())._folder)
    assert stages.open_store(tables, None, drift.Config(jobs=2))._folder == folders[0]
    monkeypatch.setattr(stages, "code", lambda: "other")
    folders.append(stages.open_store(tables, None, drift.Config())._folder)
    assert len(set(folders)) == 5
    old = tmp_path / "drift" / "old"
    old.mkdir()
    os.utime(old, (time.time() - 15 * 86_400,) * 2)
    stages.open_store(tables, None, drift.Config())
    assert not old.exists()


def test_a_killed_run_goes_on_and_writes_the_same_files(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = (texts / "texts.jsonl", texts / "references.jsonl")
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path / "cache"))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), *map(str, sources)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    kept = {p.name for p in (tmp_path / "cache" / "drift").glob("*/*")}
    assert {"encoded.npz", "two-sample.json", "headline.json", "kappa-B.json"} <= kept
    assert "bins.json" not in kept
    with monkeypatch.context() as patch:
        for module, name in ((reading, "encode"), (twosample, "compute"), (parts, "_headline"), (parts, "_curve")):
            patch.setattr(module, name, lambda *_, **__: pytest.fail("made again"))
        running.run(None, tmp_path / "out", texts=sources, **FEW)
    assert not list((tmp_path / "cache" / "drift").iterdir()), "what was kept is gone once the report is written"
    running.run(None, tmp_path / "whole", texts=sources, **FEW)
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    assert sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()) == files
    assert len(files) > 10
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_extraction_goes_on_batch_by_batch(tables: TextTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading.sources, "_BATCH", 100)
    store, whole = Store(tmp_path / "kept"), reading.encode(tables, drift.Config())
    reading.encode(tables, drift.Config(), store=store)
    batches = sorted((tmp_path / "kept").glob("extracted-*.npz"))
    assert len(batches) > 2
    batches[-1].unlink()
    extract, roles = reading.extract_texts, []

    def counted(rows: list[int], written: list[str], *rest: object) -> object:
        roles.append(rest[1])
        return extract(rows, written, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "extract_texts", counted)
    again = reading.encode(tables, drift.Config(), store=store)
    assert roles.count("candidate") == 1
    for name, array in encoding.to_arrays(whole).items():
        np.testing.assert_array_equal(encoding.to_arrays(again)[name], array)
