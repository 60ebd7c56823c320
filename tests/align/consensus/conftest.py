"""One small synthetic world and its release, for all tests of consensus."""

from pathlib import Path

import pytest

from cxr_max import data, synth


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("consensus") / "world"
    synth.write_world(synth.WorldConfig(instances=24, seed=3, size=64), out)
    return out


@pytest.fixture(scope="session")
def release(world: Path) -> data.Release:
    return data.build([world / "raw"], world.parent / "release", "1.0.0").release
