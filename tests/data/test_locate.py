"""Which release is meant when none, one or several are in reach."""

from pathlib import Path

import pytest

from cxr_max.data import locate
from cxr_max.errors import MissingFileError, UsageError
from tests.data import handmade


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def cached(home: Path, version: str, name: str = "a") -> Path:
    return handmade.write(home / "cache" / "releases" / name, version=version, instances=2)


def test_the_order(elsewhere: Path, own_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match="none is in reach") as caught:
        locate.locate()
    assert "CXR_MAX_RELEASE" in str(caught.value)
    assert "synthetic" in str(caught.value)
    cached(own_folders, "1.0.0")
    assert locate.locate().version == "1.0.0"
    handmade.write(elsewhere / "cxr-max", version="2.0.0", instances=2)
    assert locate.locate().version == "2.0.0"
    monkeypatch.setenv("CXR_MAX_RELEASE", str(handmade.write(tmp_path / "env", version="3.0.0", instances=2)))
    assert locate.locate().version == "3.0.0"
    named = handmade.write(tmp_path / "named", version="4.0.0", instances=2)
    assert locate.locate(named).version == "4.0.0"
    assert locate.locate(str(named)).source == str(named)


def test_a_folder_of_that_name_without_a_manifest_does_not_count(elsewhere: Path, own_folders: Path) -> None:
    (elsewhere / "cxr-max").mkdir()
    (elsewhere / "cxr-max" / "README.md").write_text("a clone of the code")
    cached(own_folders, "1.0.0")
    assert locate.locate().version == "1.0.0"


def test_several_in_the_cache_are_listed(elsewhere: Path, own_folders: Path) -> None:
    cached(own_folders, "1.0.0", "a")
    cached(own_folders, "1.1.0", "org--name/0123")
    with pytest.raises(UsageError, match="several releases") as caught:
        locate.locate()
    assert "cxr-max 1.0.0 (" in str(caught.value)
    assert "cxr-max 1.1.0 (" in str(caught.value)
    assert locate.locate(revision="v1.1.0").version == "1.1.0"
    with pytest.raises(MissingFileError, match=r"no release 'v9\.0\.0'"):
        locate.locate(revision="v9.0.0")


def test_a_wrong_revision_is_an_error(tmp_path: Path) -> None:
    path = handmade.write(tmp_path / "r", version="1.0.0", instances=2)
    with pytest.raises(UsageError, match=r"is version 1\.0\.0"):
        locate.locate(path, "v1.0.1")
    with pytest.raises(UsageError, match="two revisions"):
        locate.locate("org/name@v1.0.0", "v1.1.0")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "org/../name", "", "org/name@", "https://host/x"])
def test_names_that_are_nothing(name: str, elsewhere: Path) -> None:
    with pytest.raises(MissingFileError):
        locate.locate(name or "no such folder")


def test_a_file_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(MissingFileError, match="no release at"):
        locate.locate(tmp_path / "x")
    with pytest.raises(MissingFileError, match="manifest"):
        locate.locate(tmp_path)


def test_offline_a_name_on_the_hub_fails_at_once_and_says_so(elsewhere: Path) -> None:
    with pytest.raises(Exception, match="org/name") as caught:
        locate.locate("org/name@v1.0.0")
    assert type(caught.value).__module__ == "cxr_max.errors"
