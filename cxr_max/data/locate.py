"""Which release is meant: a folder, a dataset of the Hub, or what the environment, this folder or the cache offers.

The order is fixed and the choice is always printed, since a benchmark on the wrong version is worse than an error.
Nothing here imports polars or datasets.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_max import data
from cxr_max.data import hub, manifest, swap
from cxr_max.data.layout import MANIFEST, parse_shard
from cxr_max.errors import MissingFileError, UsageError
from cxr_max.folders import cache_path
from cxr_max.schema import TABLES

ENVIRONMENT = "CXR_MAX_RELEASE"
BESIDE = Path("cxr-max")
SYNTHETIC = "synthetic"
RELEASES = "releases"
_REPO = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?)(?:@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True)
class Located:
    """A release that was found on this machine.

    Attributes:
        path: its folder.
        manifest: its manifest.
        sha256: SHA-256 of the manifest's bytes, hex; identifies everything in the release.
        source: where it came from, as the user would name it.
    """

    path: Path
    manifest: Mapping[str, Any]
    sha256: str
    source: str

    @property
    def version(self) -> str:
        """Its version, such as `1.2.0` or `0.0.0+synthetic.7`."""
        return str(self.manifest["version"])

    @property
    def synthetic(self) -> bool:
        """Whether its rows are simulated."""
        return bool(self.manifest.get("synthetic", False))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of its tables, in the schema's order."""
        return tuple(t for t in TABLES if t in self.manifest["tables"])

    def files(self, table: str) -> dict[str, list[str]]:
        """The Parquet files of a table as the manifest names them, by split in the Hub's spelling."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.manifest["files"]):
            shard = parse_shard(name)
            if shard is not None and shard.table == table:
                found.setdefault(shard.split, []).append(name)
        return {s: found[s] for s in ("train", "validation", "test") if s in found}

    def __str__(self) -> str:
        short = str(self.manifest.get("release_hash") or self.sha256)[:12]
        return f"cxr-max {self.version} ({short}) from {self.source}"


def read(path: Path, *, source: str = "") -> Located:
    """The release in a folder, by its manifest; its files are not looked at.

    Raises:
        MissingFileError: the folder or its manifest is not there.
        DataError: the manifest cannot be read, lacks a key, or names a file outside of the release.
    """
    found = manifest.read(path)
    digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return Located(path, found, digest, source or str(path))


def locate(
    release: "str | os.PathLike[str] | Any | None" = None,
    revision: object = None,
    *,
    tables: Iterable[str] = (),
    token: "str | bool | None" = None,
    synthetic: Callable[[], Path] | None = None,
) -> Located:
    """Find the release that is meant.

    Args:
        release: a folder, `org/name`, `org/name@v1.0.0`, an open release, `synthetic`, or None for
            `$CXR_MAX_RELEASE`, else `./cxr-max` when it holds a manifest, else the only one in the cache.
        revision: a version (`v1.2.0` or `1.2.0`) the release must be, or any revision of a dataset of the Hub.
        tables: what to fetch when it lies on the Hub; nothing but manifest and documents when empty.
        token: the Hub's token.
        synthetic: gives the folder of the built-in synthetic release.

    Raises:
        UsageError: several releases could be meant, two revisions were given, or the revision is not this one.
        MissingFileError: there is none.
        DataError: its manifest is broken.
    """
    wanted = str(revision) if revision is not None else None
    if release is None:
        release = os.environ.get(ENVIRONMENT) or None
    if release is None:
        return _nearest(wanted)
    name = os.fspath(getattr(release, "path", release))
    if name == SYNTHETIC and synthetic is not None and not Path(name).is_dir():
        return _of_revision(read(synthetic(), source="the built-in synthetic world"), wanted)
    path = Path(name).expanduser()
    # An exchange of two releases that was cut short leaves nothing at the place itself.
    swap.recover(path, lambda place: bool(data.release.is_complete(place)))
    if path.is_dir():
        return _of_revision(read(path.resolve()), wanted)
    found = _REPO.fullmatch(name.removeprefix("hf://datasets/"))
    if found is None or path.exists():
        raise MissingFileError(
            f"no release at {name!r}: neither a folder nor ORG/NAME[@REVISION]",
            next="cxr-max build RAW... --out DIR --version X.Y.Z",
        )
    if found["revision"] and wanted and found["revision"] != wanted:
        raise UsageError(f"two revisions were given: {found['revision']!r} in release=, {wanted!r} in revision=")
    return _from_hub(found["repo"], found["revision"] or wanted, tuple(tables), token)


def _from_hub(repo: str, revision: str | None, tables: tuple[str, ...], token: "str | bool | None") -> Located:
    home = cache_path() / RELEASES / repo.replace("/", "--")
    commit = hub.commit_of(repo, revision, home / "refs", token=token)
    folder = home / commit
    source = f"{repo}@{revision or commit[:12]}"
    hub.fetch(repo, commit, [MANIFEST], folder, token=token)
    release = read(folder, source=source)
    names = [n for table in tables for files in release.files(table).values() for n in files]
    # A file that is there and as long as the manifest says was fetched whole; the builder checks its hash.
    missing = [n for n in names if _size(folder / n) != release.manifest["files"][n].get("bytes")]
    if missing:
        hub.fetch(repo, commit, missing, folder, token=token)
    return release


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _nearest(revision: str | None) -> Located:
    if (BESIDE / MANIFEST).is_file():
        return _of_revision(read(BESIDE.resolve()), revision)
    cached = in_cache()
    fitting = [r for r in cached if revision is None or _is_revision(r, revision)]
    if len(fitting) == 1:
        return fitting[0]
    listed = "".join(f"\n    {r}" for r in cached)
    if len(fitting) > 1:
        raise UsageError(f"several releases could be meant:{listed}", next="name one by release= or $CXR_MAX_RELEASE")
    what = "no release was named and none is in reach" if revision is None else f"no release {revision!r} is in reach"
    raise MissingFileError(
        f"{what}: looked at release=, ${ENVIRONMENT}, {BESIDE.absolute()} and {cache_path() / RELEASES}"
        + (f", which holds:{listed}" if cached else ""),
        next='release="FOLDER" or release="ORG/NAME@v1.0.0"; without any data: load_dataset("cxr-max", "synthetic")',
    )


def in_cache() -> list[Located]:
    """Releases in `$CXR_MAX_CACHE/releases`: fetched ones and folders put there; the built-in one is elsewhere."""
    folder = cache_path() / RELEASES
    found = [*folder.glob(f"*/{MANIFEST}"), *folder.glob(f"*/*/{MANIFEST}")]
    return [read(f.parent.resolve()) for f in sorted(found)]


def _of_revision(release: Located, revision: str | None) -> Located:
    if revision is None or _is_revision(release, revision):
        return release
    raise UsageError(
        f"revision {revision!r} was asked for, {release.source} is version {release.version}",
        next=f'revision="v{release.version}", or name the release that has the other version',
    )


def _is_revision(release: Located, revision: str) -> bool:
    return revision.removeprefix("v") == release.version or revision == release.path.name
