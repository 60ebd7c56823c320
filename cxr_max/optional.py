"""Late imports: heavy core packages and the packages of extras, with a version check and the install command."""

import importlib
import importlib.metadata
import re
from functools import cache
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from cxr_max.errors import MissingExtraError

DISTRIBUTION = "cxr-max"
_DISTRIBUTION_OF = {
    "PIL": "pillow",
    "gdcm": "python-gdcm",
    "sklearn": "scikit-learn",
    "sentence_transformers": "sentence-transformers",
    "huggingface_hub": "huggingface-hub",
}


class Needed(NamedTuple):
    """One requirement of ours: distribution, version range, and the extra it belongs to ("" for core)."""

    distribution: str
    requirement: Requirement
    extra: str


@cache
def requirements() -> tuple[Needed, ...]:
    """All requirements of this distribution, core first, as its metadata state them; none in a bare source tree."""
    rows = []
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    for line in lines:
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", str(requirement.marker or ""))
        # "all" repeats the other extras.
        if extra is None or extra.group(1) != "all":
            rows.append(Needed(_canonical(requirement.name), requirement, extra.group(1) if extra else ""))
    return tuple(sorted(rows, key=lambda n: (n.extra, n.distribution)))


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def require(module: str, *, extra: str = "") -> Any:
    """Import a module late, checking that its distribution is there and recent enough.

    Args:
        module: dotted module name.
        extra: the extra that brings it; empty for a core dependency.

    Raises:
        MissingExtraError: it is not installed or too old; the message names the install command.
    """
    _check(module.partition(".")[0], extra)
    return importlib.import_module(module)


@cache
def _check(top: str, extra: str) -> None:
    distribution = _canonical(_DISTRIBUTION_OF.get(top, top))
    command = f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {DISTRIBUTION}"
    version = installed_version(distribution)
    if version is None:
        raise MissingExtraError(f"{distribution} is not installed", next=command)
    for needed in requirements():
        wanted = needed.requirement.specifier
        if needed.distribution == distribution and not wanted.contains(version, prereleases=True):
            raise MissingExtraError(
                f"{distribution} {version} is installed, {wanted} is needed", next=f"{command} --upgrade"
            )


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
