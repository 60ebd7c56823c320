"""Where the user's datasets lie: `--root NAME=PATH`, else `$CXR_MAX_ROOTS`, else the user's config file."""

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.folders import config_file, private_dir, write_atomic

ROOTS: dict[str, str] = {
    "mimic-cxr": "MIMIC-CXR 2.x: DICOM files and reports",
    "mimic-cxr-jpg": "MIMIC-CXR-JPG 2.x: JPG files, labels, split and metadata tables",
    "ms-cxr-t": "MS-CXR-T 1.0.0: temporal image classification",
    "ms-cxr": "MS-CXR: phrase grounding",
    "open-i": "Open-I / Indiana University chest X-rays",
    "chestxray14": "NIH ChestX-ray14",
    "chexpert": "CheXpert",
    "chestx-det10": "ChestX-Det10",
}
MIMIC_ROOTS: tuple[str, ...] = ("mimic-cxr", "mimic-cxr-jpg")
ENVIRONMENT = "CXR_MAX_ROOTS"


@dataclass(frozen=True)
class Root:
    """One place of one dataset.

    Attributes:
        name: one of `ROOTS`.
        path: an existing folder (or a parent in which the layout is recognised).
        origin: option, environment or config.
    """

    name: str
    path: Path
    origin: str


def parse_root(text: str) -> tuple[str, Path]:
    """Split `NAME=PATH`.

    Raises:
        UsageError: no `=` in it.
        UnknownNameError: the name is not a dataset we know.
    """
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"{text!r} is not NAME=PATH", next="cxr-max roots show lists the names")
    return known(name.strip()), Path(path.strip()).expanduser()


def known(name: str) -> str:
    """The name itself when it is a dataset we know.

    Raises:
        UnknownNameError: it is not.
    """
    if name not in ROOTS:
        raise UnknownNameError.of("root", name, ROOTS, next="cxr-max roots show")
    return name


def configured() -> dict[str, list[Path]]:
    """Roots of the user's config file; empty when there is none.

    Raises:
        DataError: the file cannot be read or parsed, or is not of the expected form.
    """
    path = config_file()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("roots", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        reason = type(e).__name__ if isinstance(e, OSError) else str(e)
        raise DataError(f"cannot read the config file {path}: {reason}", next="mend or remove it") from e
    if not isinstance(table, dict):
        raise DataError(f"[roots] of {path} is not a table", next="mend it: [roots] then NAME = [PATH, ...]")
    return {known(name): [Path(p).expanduser() for p in _paths(name, value)] for name, value in table.items()}


def _paths(name: str, value: object) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise DataError(f"root {name} in {config_file()} is neither a path nor a list of paths")
    return values


def resolve(options: Iterable[str] = (), *, mimic_roots: Iterable[Path | str] = ()) -> tuple[Root, ...]:
    """All roots in force: those of the options, then for names these leave open the environment's, then the config's.

    Args:
        options: `NAME=PATH` strings.
        mimic_roots: paths for both MIMIC names (the short form `--mimic-root`).

    Raises:
        UsageError, UnknownNameError: malformed or unknown.
        MissingFileError: a folder that was named does not exist.
    """
    given: dict[str, list[Path]] = {}
    for name, path in map(parse_root, options):
        given.setdefault(name, []).append(path)
    for name in MIMIC_ROOTS:
        for mimic_root in mimic_roots:
            given.setdefault(name, []).append(Path(mimic_root).expanduser())
    layers: tuple[tuple[str, Mapping[str, list[Path]]], ...] = (
        ("option", given),
        ("environment", _environment()),
        ("config", configured()),
    )
    found: dict[str, list[Root]] = {}
    for origin, layer in layers:
        for name, paths in layer.items():
            if name not in found or found[name][0].origin == origin:
                found.setdefault(name, []).extend(Root(name, _existing(name, p, origin), origin) for p in paths)
    return tuple(root for name in ROOTS for root in found.get(name, []))


def _environment() -> dict[str, list[Path]]:
    roots: dict[str, list[Path]] = {}
    for part in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        name, path = parse_root(part)
        roots.setdefault(name, []).append(path)
    return roots


def _existing(name: str, path: Path, origin: str) -> Path:
    if not path.is_dir():
        raise MissingFileError(f"root {name} ({origin}): no folder at {path}", next=f"cxr-max roots set {name} PATH")
    return path


def remember(name: str, path: Path) -> Path:
    """Store a root in the user's config file, replacing what stood there for the name; returns the file.

    Raises:
        UnknownNameError: not a dataset we know.
        MissingFileError: no such folder.
    """
    known(name)
    roots = configured()
    roots[name] = [_existing(name, path.expanduser(), "option").resolve()]
    file = config_file()
    private_dir(file.parent)
    # Every JSON string is a valid TOML basic string as long as it is not escaped to surrogate pairs.
    lines = [f"{n} = {json.dumps([str(p) for p in ps], ensure_ascii=False)}" for n, ps in sorted(roots.items())]
    write_atomic(file, "\n".join(["[roots]", *lines, ""]), mode=0o600)
    return file
