"""A missing or old package is one line with its install command; our own licence promises hold."""

import importlib.metadata
import re

import pytest
from packaging.requirements import Requirement

from cxr_max import optional
from cxr_max.errors import MissingExtraError

# BSL-1.0 is the Boost licence; the Business Source Licence is BUSL or is spelled out.
FORBIDDEN = re.compile(r"(?<!L)\bA?GPL|(?<!Lesser )General Public License|Business Source|\bBUSL|\bBSL(?!-1\.0)", re.I)


def test_a_missing_package_names_the_extra_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "installed_version", lambda _: None)
    optional._check.cache_clear()
    with pytest.raises(MissingExtraError) as caught:
        optional.require("sklearn.metrics", extra="drift")
    optional._check.cache_clear()
    assert str(caught.value) == 'scikit-learn is not installed\n  next: pip install "cxr-max[drift]"'


def test_an_old_package_says_which_version_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "installed_version", lambda _: "0.1")
    optional._check.cache_clear()
    with pytest.raises(MissingExtraError, match=r"polars 0.1 is installed, >=1"):
        optional.require("polars")
    optional._check.cache_clear()


def test_what_is_there_is_imported() -> None:
    assert optional.require("rich.console").Console


def test_requirements_list_core_and_extras_once() -> None:
    rows = optional.requirements()
    core = {r.distribution for r in rows if not r.extra}
    assert {"datasets", "polars", "pyarrow", "pydicom", "typer"} <= core
    assert "all" not in {r.extra for r in rows}
    assert {"dicom", "drift", "train", "eval", "dev"} <= {r.extra for r in rows}


def _licence(distribution: str) -> str:
    meta = importlib.metadata.metadata(distribution)
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    return " ".join([meta.get("License-Expression") or "", (meta.get("License") or "")[:120], *classifiers]).strip()


def _closure() -> set[str]:
    seen: set[str] = set()
    todo = [n.distribution for n in optional.requirements()]
    while todo:
        name = todo.pop()
        if name in seen or optional.installed_version(name) is None:
            continue
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(optional._canonical(requirement.name))
    return seen


def test_no_dependency_of_any_extra_is_gpl_agpl_or_bsl() -> None:
    assert [n for n in sorted(_closure()) if FORBIDDEN.search(_licence(n))] == []


@pytest.mark.parametrize("text", ["GPL-3.0-or-later", "AGPL", "GNU General Public License v2", "BUSL-1.1", "BSL 1.1"])
def test_forbidden_licences_are_recognised(text: str) -> None:
    assert FORBIDDEN.search(text)
    assert not FORBIDDEN.search("LGPL-2.1 AND BSL-1.0 AND GNU Lesser General Public License")


def test_every_direct_dependency_states_a_licence() -> None:
    direct = {n.distribution for n in optional.requirements() if optional.installed_version(n.distribution)}
    assert [n for n in sorted(direct) if not _licence(n)] == []
