"""The tree keeps the rules of the architecture, and each rule finds a violation planted in a copy of the tree."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.invariants import rules

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda r: r.__name__)
def test_the_tree_keeps(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


PLANTED = {
    "import_order": ("cxr_max/findings/planted.py", '"""A module."""\n\nfrom cxr_max.drift import report\n'),
    "cycles": ("cxr_max/findings/planted.py", '"""A module."""\n\nimport cxr_max.findings.other\n'),
    "late_imports": ("cxr_max/planted.py", '"""A module."""\n\n\ndef _f():\n    import json\n'),
    "limits": ("cxr_max/planted.py", '"""A module."""\n' + "x = 1\n" * 400),
    "plugins": ("cxr_max/drift/stats/planted.py", "x = 1\n"),
    "docstrings": ("cxr_max/planted.py", '"""A module."""\n\n\ndef f():\n    pass\n'),
    "prints": ("cxr_max/planted.py", '"""A module."""\n\nprint(1)\n'),
    "machine_paths": ("cxr_max/planted.py", '"""Reads /' + 'home/someone/data."""\n'),
    "quoting": ("cxr_max/planted.py", '"""A module."""\n\nx = root.labels("chexpert").select("a").collect()\n'),
    "silenced": ("cxr_max/planted.py", '"""A module."""\n\nimport x  # ' + "noqa\n"),
}


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda r: r.__name__)
def test_a_planted_violation_is_found(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cxr_max", tmp_path / "cxr_max", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    before = rule(tmp_path)
    name, text = PLANTED[rule.__name__]
    planted = tmp_path / name
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    if rule is rules.cycles:
        (planted.parent / "other.py").write_text('"""A module."""\n\nimport cxr_max.findings.planted\n')
    new = set(rule(tmp_path)) - set(before)
    assert new, "the rule missed it"
    assert any("planted" in line for line in new)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def f(a, b, c, d, e, f, g, h):\n    return a\n", "takes 8 arguments"),
        ("def f():\n" + "    x = 1\n" * 60, "has 61 lines"),
    ],
)
def test_functions_over_a_limit_are_found(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "cxr_max").mkdir()
    (tmp_path / "cxr_max" / "planted.py").write_text(body)
    assert any(said in line for line in rules.limits(tmp_path))


@pytest.mark.parametrize("package", ["data", "mimic", "synth"])
def test_the_map_of_a_wide_folder_names_every_module_once(package: str) -> None:
    folder = ROOT / "cxr_max" / package
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), clean=False) or ""
    named = re.findall(r"[a-z_]+", " ".join(re.findall(r"^ {4}\S.*? {2,}(.*)$", text, re.MULTILINE)))
    modules = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    assert [m for m in modules if named.count(m) != 1] == []
