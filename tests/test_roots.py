"""Roots: options before the environment before the config file; unknown names and missing folders are clear errors."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_max import roots
from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.folders import config_file


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    made = {n: tmp_path / n for n in ("a", "b", "c", "space and ünïcode \"quote'")}
    for path in made.values():
        path.mkdir()
    return made


def test_options_win_over_environment_over_config(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    roots.remember("open-i", places["c"])
    roots.remember("chexpert", places["c"])
    monkeypatch.setenv("CXR_MAX_ROOTS", f"open-i={places['b']}{os.pathsep}ms-cxr={places['b']}")
    found = {(r.name, r.path, r.origin) for r in roots.resolve([f"ms-cxr={places['a']}"])}
    assert found == {
        ("ms-cxr", places["a"], "option"),
        ("open-i", places["b"], "environment"),
        ("chexpert", places["c"], "config"),
    }


def test_a_name_may_have_several_places(places: dict[str, Path]) -> None:
    found = roots.resolve([f"mimic-cxr={places['a']}", f"mimic-cxr={places['b']}"])
    assert [r.path for r in found] == [places["a"], places["b"]]


def test_mimic_root_is_the_short_form_for_both(places: dict[str, Path]) -> None:
    assert [r.name for r in roots.resolve(mimic_roots=[places["a"]])] == ["mimic-cxr", "mimic-cxr-jpg"]


def test_remembered_paths_survive_odd_characters(places: dict[str, Path]) -> None:
    odd = places["space and ünïcode \"quote'"]
    file = roots.remember("open-i", odd)
    assert [r.path for r in roots.resolve()] == [odd]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["nope=/x", "MIMIC-CXR=/x"])
def test_unknown_name(text: str) -> None:
    with pytest.raises(UnknownNameError, match="mimic-cxr-jpg"):
        roots.resolve([text])


@pytest.mark.parametrize("text", ["", "mimic-cxr", "mimic-cxr=", "/data/x"])
def test_not_name_equals_path(text: str) -> None:
    with pytest.raises(UsageError):
        roots.parse_root(text)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder at"):
        roots.resolve([f"open-i={tmp_path / 'absent'}"])
    with pytest.raises(MissingFileError):
        roots.remember("open-i", tmp_path / "absent")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[roots", b"roots = 3", b"[roots]\nopen-i = 3", b"[roots]\nnope='/x'"]
)
def test_a_broken_config_file_is_a_clear_error(content: bytes) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_bytes(content)
    with pytest.raises((DataError, UnknownNameError)) as caught:
        roots.resolve()
    assert "root" in str(caught.value) or "config" in str(caught.value)


def test_an_unreadable_config_file_is_a_clear_error() -> None:
    config_file().mkdir(parents=True)
    with pytest.raises(DataError, match="cannot read the config file"):
        roots.resolve()


@given(st.text())
def test_any_text_is_a_pair_or_a_usage_error(text: str) -> None:
    try:
        name, _ = roots.parse_root(text)
    except (UsageError, UnknownNameError):
        return
    assert name in roots.ROOTS
