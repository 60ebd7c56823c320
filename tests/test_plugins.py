"""Plug-ins by file name, by entry point and by path."""

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.plugins import Registry, blamed, code_of


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    folder = tmp_path / "shelf_for_tests"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "_helper.py").touch()
    (folder / "good.py").write_text("NAME = 'good'\n")
    (folder / "bare.py").write_text("x = 1\n")
    (tmp_path / "theirs_for_tests.py").write_text("NAME = 'theirs'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib.metadata.EntryPoint("zz_theirs", "theirs_for_tests", "cxr_max.tests")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == "cxr_max.tests" else [])
    yield Registry("thing", "shelf_for_tests", "cxr_max.tests", ("NAME",))
    for name in [n for n in sys.modules if n.startswith(("shelf_for_tests", "theirs_for_tests"))]:
        del sys.modules[name]


def test_names_are_files_and_entry_points(registry: Registry) -> None:
    assert registry.names() == ("bare", "good", "zz_theirs")


@pytest.mark.parametrize("name", ["good", "zz_theirs"])
def test_get_imports_by_name(registry: Registry, name: str) -> None:
    assert registry.get(name).NAME in name


def test_get_imports_a_users_file(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("NAME = 'mine'\n")
    assert isinstance(registry.get(str(path)), type(sys))
    assert registry.get(str(path)).NAME == "mine"


def test_unknown_name_lists_what_there_is(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="unknown thing 'nope'; known: bare, good, zz_theirs"):
        registry.get("nope")


def test_a_plugin_that_lacks_a_name_says_which(registry: Registry) -> None:
    with pytest.raises(UsageError, match="does not define NAME"):
        registry.get("bare")


def test_a_missing_file_is_a_usage_error(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Python file"):
        registry.get(str(tmp_path / "absent.py"))


def test_a_users_file_may_use_dataclasses_with_annotations_that_are_texts(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nNAME = 'mine'\n"
        "@dataclass(frozen=True)\nclass Hyper:\n    beta: float = 0.1\n"
    )
    module = registry.get(str(path))
    assert module.Hyper(beta=0.2).beta == 0.2
    # A file takes no installed module's place.
    assert importlib.import_module("json").loads("1") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NAME = (\n", "line 1: SyntaxError"),
        ("NAME = 'x'\n\ndef f():\n    return 1 / 0\n\nf()\n", "line 4: ZeroDivisionError"),
        ("import a_package_that_is_not_there\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_users_file_that_cannot_be_imported_says_where(
    registry: Registry, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        registry.get(str(path))


def test_an_error_inside_a_users_file_is_told_by_line_without_what_it_says(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("NAME = 'mine'\n\ndef f(text):\n    return float(text)\n")
    module = registry.get(str(path))
    with pytest.raises(UsageError, match=r"mine\.py: line 4: ValueError\n") as caught, blamed(module):
        module.f("Effusion of a patient")
    assert "Effusion" not in str(caught.value)
    ours = importlib.import_module("cxr_max.settings")
    with pytest.raises(ZeroDivisionError), blamed(ours):
        _ = 1 / 0


def test_the_code_of_a_users_file_is_known_by_its_bytes(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("NAME = 'one'\n")
    first = code_of(registry.get(str(path)))
    path.write_text("NAME = 'two'\n")
    assert first != code_of(registry.get(str(path)))
    assert code_of(importlib.import_module("cxr_max.settings")) == ""


def test_a_helper_is_no_plugin(registry: Registry) -> None:
    with pytest.raises(UnknownNameError):
        registry.get("_helper")
    assert SimpleNamespace(names=registry.names()).names


def test_lazy_names_come_from_their_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lazily"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from cxr_max.plugins import lazy\n__getattr__, __dir__ = lazy(__name__, {'answer': 'deep'})\n"
    )
    (package / "deep.py").write_text("answer = 42\n")
    (package / "other.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    lazily = importlib.import_module("lazily")

    assert dir(lazily) == ["answer", "deep", "other"]
    assert "lazily.deep" not in sys.modules
    assert lazily.answer == 42
    assert lazily.other.__name__ == "lazily.other"
    with pytest.raises(AttributeError, match="no attribute 'question'"):
        _ = lazily.question
