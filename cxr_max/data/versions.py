"""Semantic versions of a release: what a change of the data obliges the next version to be."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cxr_max.errors import CheckFailedError, UsageError

_SEMVER = re.compile(
    r"(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
LEVELS = ("none", "patch", "minor", "major")


class Version(NamedTuple):
    """A semantic version; pre-release and build are empty when absent."""

    major: int
    minor: int
    patch: int
    pre: str = ""
    build: str = ""


def parse(text: str) -> Version:
    """A version of the form X.Y.Z, with optional -pre and +build.

    Raises:
        UsageError: it has another form.
    """
    found = _SEMVER.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no semantic version", next="use X.Y.Z, such as 1.0.0")
    major, minor, patch = (int(found[n]) for n in ("major", "minor", "patch"))
    return Version(major, minor, patch, found["pre"] or "", found["build"] or "")


def synthetic(seed: int | None) -> str:
    """The version of a synthetic release that is not told otherwise."""
    return "0.0.0+synthetic" if seed is None else f"0.0.0+synthetic.{seed}"


def next_minor(text: str) -> str:
    """The version of a release with further tables: the next minor one, its build part kept; errors as `parse`."""
    v = parse(text)
    return f"{v.major}.{v.minor + 1}.0" + (f"+{v.build}" if v.build else "")


def step(old: Version, new: Version) -> str:
    """The level by which `new` follows `old`: major, minor, patch or none.

    Raises:
        UsageError: `new` comes before `old`.
    """
    for level, before, after in zip(("major", "minor", "patch"), old[:3], new[:3], strict=True):
        if after < before:
            raise UsageError(f"version {_text(new)} comes before the previous {_text(old)}")
        if after > before:
            return level
    return "none"


def needed(difference: Mapping[str, Any]) -> tuple[str, str]:
    """The level a difference obliges to, with the reason.

    Removed rows, tables or columns, and a column that is not plain text corrected = major; added rows or tables =
    minor; corrected text alone = patch.

    Args:
        difference: table -> counts as `diff` gives them (`added`, `removed`, `changed`, `columns`, `schema`).
    """
    level, reason = "none", "the data are the same"
    for name, table in difference.items():
        for found, why in _levels(name, table):
            if LEVELS.index(found) > LEVELS.index(level):
                level, reason = found, why
    return level, reason


FREE_COLUMNS = frozenset({
    "trajectory", "prompt", "diseases", "text_sha256", "n_words", "n_steps", "refusal", "chosen", "rejected",
    "view", "teacher_snapshot", "decoding", "n_teachers", "dicom_ids", "supported_by", "weights",
})  # fmt: skip
"""Columns that a corrected text, an added row or a note filled in later may change without a major version."""


def _levels(name: str, table: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    # Steps and findings are computed from the text: they follow a corrected one without a bump of their own.
    computed = name in ("steps", "findings")
    if table.get("schema"):
        found.append(("major", f"columns of {name} changed"))
    if table["removed"]:
        found.append(
            (
                "patch" if computed and not table.get("gone") else "major",
                f"{table['removed']:,} rows of {name} are removed",
            )
        )
    if table["added"]:
        found.append(
            ("patch" if computed and not table.get("new") else "minor", f"{table['added']:,} rows of {name} are added")
        )
    other = {c: n for c, n in table["columns"].items() if not computed and c not in FREE_COLUMNS}
    if other:
        found.append(("major", f"values of {name} changed in {', '.join(sorted(other))}"))
    elif table["changed"]:
        found.append(("patch", f"text of {table['changed']:,} rows of {name} changed"))
    return found


def check(old: str, new: str, difference: Mapping[str, Any]) -> str:
    """The level of the change, when the new version honours it.

    Raises:
        UsageError: a malformed version, or one before the previous.
        CheckFailedError: the new version does not say what the change obliges to.
    """
    before, after = parse(old), parse(new)
    level, reason = needed(difference)
    stated = step(before, after)
    if LEVELS.index(stated) < LEVELS.index(level):
        raise CheckFailedError(
            f"{old} -> {new} is a {stated} change, but {reason}: {level} is needed",
            next=f"--version {_bumped(before, level)}",
        )
    return level


def _bumped(v: Version, level: str) -> str:
    parts = {"major": (v.major + 1, 0, 0), "minor": (v.major, v.minor + 1, 0), "patch": (v.major, v.minor, v.patch + 1)}
    return ".".join(map(str, parts[level]))


def _text(v: Version) -> str:
    return f"{v.major}.{v.minor}.{v.patch}" + (f"-{v.pre}" if v.pre else "") + (f"+{v.build}" if v.build else "")
