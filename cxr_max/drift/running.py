"""What `cxr-max drift` does: open the data, compute the report, write it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cxr_max import data, mimic, roots
from cxr_max.drift import reporting, sources, stages
from cxr_max.drift.config import from_options
from cxr_max.drift.page import writing
from cxr_max.drift.result import DriftReport
from cxr_max.errors import UsageError
from cxr_max.folders import fsync_dir, is_restricted, new_dir, refuse_git, restricted_dir
from cxr_max.schema import Scannable


def open_data(
    release: Path | None,
    texts: tuple[Path | None, Path | None] = (None, None),
    root: Iterable[str] = (),
    mimic_root: Iterable[Path] = (),
) -> Scannable:
    """A release joined to the roots in force, a release alone without any, or two files of texts.

    Args:
        release: a release folder.
        texts: candidates and references, instead of a release.
        root: `NAME=PATH` options.
        mimic_root: paths of the short form.

    Raises:
        UsageError: both or neither of release and texts, or references without candidates.
        MissingFileError, DataError: what they point at is not there or broken.
    """
    if (release is None) == (texts[0] is None):
        raise UsageError("give either a release or --texts FILE", next="cxr-max drift --help")
    if texts[0] is not None:
        return sources.from_texts(texts[0], texts[1])
    if texts[1] is not None:
        raise UsageError("--references goes with --texts")
    opened: Scannable = data.open_release(release)
    found = [r for r in roots.resolve(root, mimic_roots=mimic_root) if r.name in roots.MIMIC_ROOTS]
    if not found:
        return opened
    joined: Scannable = mimic.join(opened, mimic.open_root(*found))
    return joined


def write(report: DriftReport, out: Path, *, overwrite: bool = False) -> dict[str, str]:
    """Write `index.html`, its figures and `report.json` (aggregates, may be shared), and `restricted/` (per instance).

    A new folder appears whole or not at all; with `overwrite` each file does.

    Args:
        report: the report.
        out: folder, new or empty unless `overwrite`.
        overwrite: write into a folder that holds something.

    Raises:
        UsageError: the folder is taken.
        RestrictedDataError: real data, and the folder lies inside a git work tree.
    """
    new_dir(out, overwrite=overwrite)
    if out.is_dir() and any(out.iterdir()):
        _fill(report, out)
    else:
        draft = out.parent / f".{out.name}.partial"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _fill(report, draft)
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
        fsync_dir(out.parent)
    return {"report": str(out / "report.json"), "page": str(out / "index.html"), "restricted": str(out / "restricted")}


def _fill(report: DriftReport, out: Path) -> None:
    restricted = out / "restricted"
    if is_restricted(bool(report.about["synthetic"])):
        restricted_dir(restricted)
    else:
        restricted.mkdir(exist_ok=True)
    tables = {"weights": report.weights(), "outliers": report.outliers()}
    for name, table in tables.items():
        draft = restricted / f".{name}.parquet.partial"
        table.write_parquet(draft)
        draft.replace(restricted / f"{name}.parquet")
    report.to_json(out / "report.json")
    writing.write(report.plain(), out)


def run(
    release: Path | None,
    out: Path,
    *,
    texts: tuple[Path | None, Path | None] = (None, None),
    where: tuple[list[str], list[Path]] = ([], []),
    against: Path | None = None,
    overwrite: bool = False,
    **options: Any,
) -> DriftReport:
    """Open, report and write; `options` as in `reporting.report`.

    Finished stages are kept in the user's cache until the report is written: the same call goes on after a kill.

    Raises:
        CxrMaxError: see `open_data`, `reporting.report` and `write`.
    """
    config = from_options({k: v for k, v in options.items() if v is not None})  # type: ignore[arg-type]
    new_dir(out, overwrite=overwrite)
    opened = open_data(release, texts, *where)
    older = None if against is None else data.open_release(against)
    # A folder that may not be written is found out before the long computation.
    if is_restricted(bool(opened.manifest.get("synthetic", False))):
        refuse_git(out)
    store = stages.open_store(opened, older, config)
    report = reporting.staged(opened, older, config, store)
    write(report, out, overwrite=overwrite)
    store.remove()
    return report
