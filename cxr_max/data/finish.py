"""The last steps every new release goes through, whichever way its tables came about."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxr_max.data import card, croissant, layout, manifest, swap, versions
from cxr_max.data.diff import diff
from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.writing import file_entry
from cxr_max.errors import CxrMaxError, DataError
from cxr_max.folders import is_restricted, output_dir, sibling
from cxr_max.schema import TABLES


@contextmanager
def drafted(out: Path) -> Iterator[Path]:
    """A draft beside `out`; when the system cannot write it, it is removed and the error says why.

    Raises:
        DataError: the disk is full, read-only, or failed.
    """
    try:
        with sibling(out) as draft:
            yield draft
    except OSError as e:
        if isinstance(e, CxrMaxError):
            raise
        raise DataError(
            f"cannot write the release beside {out}: {e.strerror or type(e).__name__}; nothing was left there",
            next="make room or choose another folder",
        ) from e


def finish(
    draft: Path, entries: manifest.Manifest, out: Path, *, previous: ReleaseFolder | None, overwrite: bool
) -> None:
    """Write the documents and the manifest into a draft and move it to its place.

    Args:
        draft: a sibling of `out` that holds the Parquet files.
        entries: the manifest so far, with `files` and `tables` of the Parquet files.
        out: where the release belongs.
        previous: the release before this one; the version has to follow it as the change of the data demands.
        overwrite: whether `out` may be exchanged.

    Raises:
        CheckFailedError: the version does not say what the change obliges to.
        UsageError: `out` is taken and `overwrite` is not given.
    """
    synthetic = bool(entries["synthetic"])
    changes = _changes(draft, entries, previous)
    # The documents name the release's hash, which their own entries have no part in.
    manifest.complete(entries)
    documents = {
        layout.CARD: card.render(entries, {n: TABLES[n] for n in entries["tables"]}),
        layout.CROISSANT: croissant.render(entries, {n: TABLES[n] for n in entries["tables"]}),
        layout.CHANGELOG: _changelog(entries, changes, previous),
    }
    for name, text in documents.items():
        (draft / name).write_text(text, encoding="utf-8")
        entries["files"][name] = file_entry(draft / name)
    manifest.write(draft, entries)
    output_dir(draft, synthetic=synthetic)
    if not is_restricted(synthetic):
        _open_to_readers(draft)
    swap.put(draft, out, overwrite=overwrite)


def _changes(draft: Path, entries: manifest.Manifest, previous: ReleaseFolder | None) -> Mapping[str, Any] | None:
    if previous is None:
        return None
    # The difference is taken before the documents are written, since the change log tells of it.
    whole = manifest.complete(dict(entries))
    found = diff(previous, ReleaseFolder(draft, whole)).tables
    versions.check(previous.version, entries["version"], found)
    return found


def _changelog(entries: manifest.Manifest, changes: Mapping[str, Any] | None, previous: ReleaseFolder | None) -> str:
    day = entries["created"][:10]
    lines = [f"## {entries['version']} - {day}", ""]
    if changes is None:
        lines += [f"- {t['rows']:,} rows of {n}" for n, t in entries["tables"].items()]
    else:
        for name, t in changes.items():
            counts = [f"{t[k]:,} {k}" for k in ("added", "removed", "changed") if t[k]]
            lines += [f"- {name}: {', '.join(counts)}"] if counts else []
        lines += [] if len(lines) > 2 else ["- the same data"]
    old = ""
    if previous is not None and (previous.path / layout.CHANGELOG).is_file():
        old = (previous.path / layout.CHANGELOG).read_text(encoding="utf-8").partition("\n## ")[2]
    return "\n".join(["# Changes of this release of CXR-MAX", "", *lines, ""]) + (f"\n## {old}" if old else "")


def _open_to_readers(folder: Path) -> None:
    """Synthetic data are free: give a folder made with mode 0700 the modes of any other."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)


def copy_shards(previous: ReleaseFolder, draft: Path, tables: Collection[str]) -> dict[str, Any]:
    """Copy the Parquet files of some tables, and what is restricted beside them; returns the files' entries."""
    entries: dict[str, Any] = {}
    for name in tables:
        for source in previous.files(name):
            path = source.relative_to(previous.path).as_posix()
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            entries[path] = dict(previous.manifest["files"][path])
    beside = previous.path / layout.RESTRICTED
    if beside.is_dir():
        shutil.copytree(beside, draft / layout.RESTRICTED)
        (draft / layout.RESTRICTED).chmod(0o700)
    return entries
