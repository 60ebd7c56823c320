"""Results of finished stages, kept privately until the report is written, so that a killed run continues inside it.

A folder per content of the data, settings and code lies in the user's cache (0700: it holds what the reports say). A
stage is looked up by name; what is found is read back, else it is made and written whole or not at all. Numbers come
back bit for bit, so a continued run writes the same files as an uninterrupted one.
"""

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cxr_max import findings
from cxr_max.drift import sources
from cxr_max.drift.config import Config
from cxr_max.drift.extra import Extra
from cxr_max.folders import cache_dir, private_dir, write_atomic
from cxr_max.schema import Scannable

Arrays = Mapping[str, NDArray[Any]]
TABLES = ("instances", "trajectories", "findings", "steps", "references")
HASHED_BY_BUILD = ("trajectories", "findings", "steps")
"""Tables a join leaves as the release has them: their content hash stands in the manifest."""
KEPT_DAYS = 14
"""What a run left that was killed and never continued is removed after so many days."""


class Store:
    """Stages of one report.

    Args:
        folder: where they are kept; None keeps nothing, and every stage is made anew.
        prefix: of the names of the stages.
    """

    def __init__(self, folder: Path | None = None, prefix: str = "") -> None:
        self._folder = None if folder is None else private_dir(folder)
        self._prefix = prefix

    def under(self, prefix: str) -> "Store":
        """The same store for stages whose names begin with the prefix."""
        return Store(self._folder, f"{self._prefix}{prefix}-")

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """A stage whose result is numbers, texts, lists and dicts; tuples come back as lists."""
        kept = self._read(f"{name}.json")
        if kept is not None:
            return json.loads(kept)
        made = make()
        self._write(f"{name}.json", lambda: json.dumps(made, default=_number).encode())
        return made

    def extra(self, name: str, make: Callable[[], Extra]) -> Extra:
        """A stage that gives rows of the report."""
        found = self.value(name, lambda: make()._asdict())
        return Extra(**{**found, "notes": tuple(found["notes"])})

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """A stage whose result is named arrays of numbers, booleans or texts (none of objects)."""
        kept = self._read(f"{name}.npz")
        if kept is not None:
            with np.load(io.BytesIO(kept), allow_pickle=False) as found:
                return {k: found[k] for k in found.files}
        made = make()
        self._write(f"{name}.npz", lambda: _packed(made))
        return made

    def remove(self) -> None:
        """Remove what was kept: the report is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, name: str) -> bytes | None:
        path = None if self._folder is None else self._folder / f"{self._prefix}{name}"
        return path.read_bytes() if path is not None and path.is_file() else None

    def _write(self, name: str, content: Callable[[], bytes]) -> None:
        if self._folder is not None:
            write_atomic(self._folder / f"{self._prefix}{name}", content(), mode=0o600)


def _packed(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **cast(dict[str, Any], dict(arrays)))
    return out.getvalue()


def _number(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a stage returned {type(value).__name__}, which cannot be kept")


def open_store(data: Scannable, against: Scannable | None, config: Config) -> Store:
    """The store of a report: the same data, settings and code lead to the same folder."""
    base = private_dir(cache_dir() / "drift")
    _forget_old(base)
    settings = {k: v for k, v in asdict(config).items() if k != "jobs"}
    named = [fingerprint(data), None if against is None else fingerprint(against), settings, code()]
    key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:32]
    return Store(base / key)


def _forget_old(base: Path) -> None:
    for folder in base.iterdir():
        if time.time() - folder.stat().st_mtime > KEPT_DAYS * 86_400:
            shutil.rmtree(folder, ignore_errors=True)


def code() -> str:
    """Hash of the code the numbers depend on: this package and the one that reads findings, and their data files."""
    digest = hashlib.sha256(f"{pl.__version__} {np.__version__}".encode())
    for package in ("cxr_max.drift", "cxr_max.findings"):
        for path in _files(files(package)):
            digest.update(path.read_bytes())
    return f"{findings.LEXICON_VERSION} {digest.hexdigest()}"


def _files(folder: Traversable) -> list[Traversable]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            found += [] if entry.name.startswith("__") else _files(entry)
        elif not entry.name.endswith(".pyc"):
            found.append(entry)
    return found


def fingerprint(data: Scannable) -> dict[str, str]:
    """Hash of the content of every table a report reads, independent of the order of its rows."""
    known = data.manifest.get("tables") or {}
    found = {"version": str(data.manifest.get("version")), "synthetic": str(data.manifest.get("synthetic"))}
    for name in TABLES:
        stored = known.get(name, {}).get("content_hash") if name in HASHED_BY_BUILD else None
        frame = sources.scan(data, name)
        found[name] = "absent" if frame is None else str(stored or _hash(frame))
    return found


def _hash(frame: pl.LazyFrame) -> str:
    schema = frame.collect_schema()
    columns = [
        pl.col(name).cast(pl.List(pl.String)).list.join("\x1f") if isinstance(kind, pl.List) else pl.col(name)
        for name, kind in sorted(schema.items())
        if not isinstance(kind, pl.Struct)
    ]
    rows = frame.select(columns).collect().hash_rows(seed=0).sort()
    return hashlib.sha256(os.fsencode(",".join(sorted(schema))) + rows.to_numpy().tobytes()).hexdigest()
