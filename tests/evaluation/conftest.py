"""What several test files of evaluation read: one synthetic world, written once."""

from pathlib import Path

import pytest

from cxr_max import synth


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 60 patients with small films; read only. A file that needs another one has a fixture of its own."""
    out = tmp_path_factory.mktemp("world") / "w"
    synth.write_world(synth.WorldConfig(subjects=60, seed=1, size=64), out)
    return out
