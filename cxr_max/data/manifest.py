"""`manifest.json`: what a release says of itself, and nothing that depends on the machine that wrote it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxr_max import __version__
from cxr_max.data import layout
from cxr_max.errors import DataError, MissingFileError, UnknownNameError
from cxr_max.folders import write_atomic
from cxr_max.schema import TABLES, Table

FORMAT = 1
"""Version of the layout of a release; a reader refuses a later one."""

SELF = "manifest_sha256"
Manifest = dict[str, Any]

REQUIRED: dict[str, type] = {
    "format": int,
    "name": str,
    "version": str,
    "synthetic": bool,
    "created": str,
    "tool": str,
    "files": dict,
    "tables": dict,
    "release_hash": str,
    "sources": list,
    "counts": dict,
    SELF: str,
}


def draft(version: str, *, synthetic: bool, seed: int | None = None) -> Manifest:
    """A manifest without tables yet; `created` is UTC, to the second."""
    return {
        "format": FORMAT,
        "name": "cxr-max",
        "version": version,
        "synthetic": synthetic,
        "seed": seed,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": f"cxr-max {__version__}",
        "files": {},
        "tables": {},
        "sources": [],
        "counts": {},
    }


def release_hash(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash over the schema and content of all tables; equal for equal data, whatever the files look like."""
    rows = [[n, t["schema_hash"], t["content_hash"], t["rows"]] for n, t in sorted(tables.items())]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def self_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's canonical JSON without its own hash."""
    rest = {k: v for k, v in manifest.items() if k != SELF}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def complete(manifest: Manifest) -> Manifest:
    """Set the manifest's hashes from the rest of it; returns it."""
    manifest["release_hash"] = release_hash(manifest["tables"])
    manifest[SELF] = self_hash(manifest)
    return manifest


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Complete the manifest with its hashes and write it, flushed to disk; returns it."""
    complete(manifest)
    write_atomic(folder / layout.MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest of a release folder; its form is checked, its hashes are not (`verify` does).

    Raises:
        MissingFileError: there is none.
        DataError: not JSON, a field is missing or of another type, or the format is later than ours.
    """
    path = folder / layout.MANIFEST
    if not path.is_file() or path.is_symlink():
        raise MissingFileError(f"{folder} holds no {layout.MANIFEST}", next="cxr-max build RAW... --out DIR makes one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise DataError(f"{path} is not valid JSON", next="fetch or build the release again") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object", next="fetch or build the release again")
    if isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise DataError(f"{path} has format {found['format']}, known is {FORMAT}", next="pip install --upgrade cxr-max")
    for name, kind in REQUIRED.items():
        if not isinstance(found.get(name), kind) or (kind is int and isinstance(found.get(name), bool)):
            raise DataError(f"{path}: field {name!r} is missing or no {kind.__name__}", next="fetch the release again")
    _check_entries(path, found)
    return found


def table_of(manifest: Mapping[str, Any], name: str) -> Table:
    """A table as this release holds it: whole, or its keys and columns of class index in an index release.

    Raises:
        UnknownNameError: the release has no such table.
    """
    if name not in manifest["tables"] or name not in TABLES:
        raise UnknownNameError.of("table of the release", name, manifest["tables"])
    whole = TABLES[name]
    if manifest.get("class") != "index":
        return whole
    return replace(whole, columns=tuple(c for c in whole.columns if c.key or c.data_class == "index"))


def _check_entries(path: Path, manifest: Manifest) -> None:
    for name, entry in manifest["files"].items():
        layout.safe_path(path.parent, name)
        if not isinstance(entry, dict) or not {"rows", "bytes", "sha256"} <= entry.keys():
            raise DataError(f"{path}: the entry of file {name!r} lacks rows, bytes or sha256")
    for name, entry in manifest["tables"].items():
        if not isinstance(entry, dict) or not {"rows", "schema_hash", "content_hash"} <= entry.keys():
            raise DataError(f"{path}: the entry of table {name[:100]!r} lacks rows, schema_hash or content_hash")
