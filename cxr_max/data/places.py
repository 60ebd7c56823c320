"""Where Arrow files of a release may lie: a folder only its owner can open, outside of every MIMIC root."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxr_max.data.locate import Located
from cxr_max.errors import CxrMaxError, RestrictedDataError
from cxr_max.folders import cache_dir, is_restricted, private_dir
from cxr_max.roots import MIMIC_ROOTS, resolve

_MARKS = ("mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-metadata.csv", "cxr-record-list.csv.gz", "files/p10")
"""A folder that holds one of these is a MIMIC-CXR root."""


def arrow_root(release: Located, given: "str | os.PathLike[str] | None", mimic_root: Any = None) -> Path:
    """The folder for Arrow files, made with mode 0700: `$CXR_MAX_CACHE/datasets`, or `GIVEN/cxr-max-private`.

    Raises:
        RestrictedDataError: it would lie inside the shared Hugging Face cache or a MIMIC root, or is another user's.
    """
    restricted = is_restricted(release.synthetic) or mimic_root is not None
    chosen = cache_dir() / "datasets" if given is None else Path(given).expanduser() / "cxr-max-private"
    for root in _mimic_roots(mimic_root, chosen):
        if _inside(chosen, root):
            raise RestrictedDataError(
                f"the cache {chosen} lies inside the MIMIC-CXR root {root}", next="set $CXR_MAX_CACHE to another folder"
            )
    if restricted and given is not None and any(_inside(chosen, shared) for shared in _shared()):
        raise RestrictedDataError(
            f"cache_dir={os.fspath(given)!r} is the shared Hugging Face cache, which other users may read",
            next="leave cache_dir out; $CXR_MAX_CACHE says where the private cache lies",
        )
    try:
        return private_dir(chosen)
    except PermissionError as e:
        raise RestrictedDataError(f"cannot make {chosen} a folder that only you can open: {e.strerror}") from e


def close(folder: Path, root: Path) -> None:
    """Take away all rights of group and others from a folder, what is in it, and its parents below `root`."""
    for above in folder.parents:
        if above.is_relative_to(root):
            above.chmod(0o700)
    for parent, _, files in os.walk(folder):
        os.chmod(parent, 0o700)
        for name in files:
            os.chmod(os.path.join(parent, name), 0o600)


def _mimic_roots(mimic_root: Any, chosen: Path) -> Iterator[Path]:
    given = [mimic_root] if isinstance(mimic_root, str | os.PathLike) else list(mimic_root or ())
    yield from (Path(p).expanduser() for p in given)
    # A root that is named and gone holds nothing; the layout below is recognised without being named.
    with suppress(CxrMaxError):
        yield from (r.path for r in resolve() if r.name in MIMIC_ROOTS)
    yield from (p for p in chosen.absolute().parents if any((p / mark).exists() for mark in _MARKS))


def _shared() -> Iterator[Path]:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    yield home
    for variable in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_CACHE_HOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])


def _inside(path: Path, folder: Path) -> bool:
    return path.expanduser().resolve().is_relative_to(folder.expanduser().resolve())
