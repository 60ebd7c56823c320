"""Every test runs offline, with a cache, a config and a home of its own."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes any example slow; that is no property of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Read when huggingface_hub and datasets are first imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes never name a test: compressed ones hold the time, and parallel workers would collect other names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private cache and config file for this test; nothing of the user's is read or written."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CXR_MAX_CACHE", str(home / "cache"))
    monkeypatch.setenv("CXR_MAX_CONFIG", str(home / "config" / "config.toml"))
    for name in ("CXR_MAX_ROOTS", "CXR_MAX_RELEASE", "CXR_MAX_TREAT_AS_REAL", "CXR_MAX_NO_HOOK"):
        monkeypatch.delenv(name, raising=False)
    return home
