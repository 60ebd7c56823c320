"""The doctor's report is JSON, changes nothing, and knows healthy from not."""

import json
from pathlib import Path

import pytest

from cxr_max import doctor, optional


def test_report_is_json_and_changes_nothing(own_folders: Path) -> None:
    report = doctor.examine()
    assert json.loads(json.dumps(report)) == report
    assert not (own_folders / "cache").exists()
    assert doctor.healthy(report)


def test_a_broken_root_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_ROOTS", "open-i=/nowhere/at/all")
    report = doctor.examine()
    assert "no folder" in report["roots"]["error"]
    assert not doctor.healthy(report)


def test_a_missing_extra_is_named_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(name: str) -> str | None:
        return None if name == "torch" else optional.installed_version(name)

    monkeypatch.setattr(doctor, "installed_version", without_torch)
    report = doctor.examine()
    assert report["extras"]["train"] is False
    assert "train" in report["can"]["training: SFT, consensus, APO"]
    assert doctor.healthy(report), "extras are optional"


def test_the_release_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor.examine()["release"] is None
    (tmp_path / "cxr-max").mkdir()
    (tmp_path / "cxr-max" / "manifest.json").touch()
    assert doctor.examine()["release"] == str(tmp_path / "cxr-max")
    monkeypatch.setenv("CXR_MAX_RELEASE", "org/name@v1.0.0")
    assert doctor.examine()["release"] == "org/name@v1.0.0"
