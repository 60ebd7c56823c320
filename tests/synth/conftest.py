"""Worlds that are written once for all tests: small without pixels, larger without pixels, tiny with pixels."""

import json
from pathlib import Path

import pytest

from cxr_max import synth


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "world"
    synth.write_world(synth.WorldConfig(subjects=60, images=False, seed=3), out)
    return out


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "large"
    synth.write_world(synth.WorldConfig(subjects=400, images=False, seed=11), out)
    return out


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "pictures"
    synth.write_world(synth.WorldConfig(subjects=20, format="both", size=96, seed=6), out)
    return out


@pytest.fixture(scope="session")
def raw(world: Path) -> dict[tuple[str, str], dict]:
    """Raw rows by instance and file name."""
    return {
        (row["image"].rsplit("/", 1)[1].removesuffix(".jpg"), path.stem): row
        for path in sorted((world / "raw").glob("*.jsonl"))
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }
