"""Where Arrow files of a release may lie: a folder only its owner can open, outside of every MIMIC root."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxr_max.data.locate import Located
from cxr_max.errors import CxrMaxError, RestrictedDataError
from cxr_max.folders import cache_dir, cache_path, is_restricted, private_dir
from cxr_max.roots import MIMIC_ROOTS, resolve

_MARKS = ("mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-metadata.csv", "cxr-record-list.csv.gz", "files/p10")
"""A folder that holds one of these is a MIMIC-CXR root."""


def arrow_root(release: Located, given: "str | os.PathLike[str] | None", mimic_root: Any = None) -> Path:
    """The folder for Arrow files, made with mode 0700: `$CXR_MAX_CACHE/datasets`, or `GIVEN/cxr-max-private`.

    Raises:
        RestrictedDataError: it would lie in the shared Hugging Face cache or a MIMIC root, or cannot be made private.
    """
    restricted = is_restricted(release.synthetic) or mimic_root is not None
    chosen = cache_path() / "datasets" if given is None else Path(given).expanduser() / "cxr-max-private"
    refuse_roots(chosen, mimic_root)
    if restricted and given is not None and any(_inside(chosen, shared) for shared in _shared()):
        raise RestrictedDataError(
            f"cache_dir={os.fspath(given)!r} is the shared Hugging Face cache, which other users may read",
            next="leave cache_dir out; $CXR_MAX_CACHE says where the private cache lies",
        )
    try:
        if given is None:
            cache_dir()
        return private_dir(chosen)
    except OSError as e:
        raise RestrictedDataError(
            f"cannot make {chosen} a folder that only you can open: {e.strerror}", next="set $CXR_MAX_CACHE"
        ) from e


def refuse_roots(folder: Path, mimic_root: Any = None) -> None:
    """Raise when a folder, which need not exist, lies inside a MIMIC root: named, configured, or known by its layout.

    Raises:
        RestrictedDataError: it does.
    """
    for root in _mimic_roots(mimic_root, folder):
        if _inside(folder, root):
            raise RestrictedDataError(
                f"the cache {folder} lies inside the MIMIC-CXR root {root}", next="set $CXR_MAX_CACHE to another folder"
            )


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
    given = [mimic_root] if isinstance(mimic_root, str | os.PathLike) else mimic_root or ()
    given = [] if isinstance(given, bool) else list(given)
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
