"""Where raw files come from: files, folders of them, or a data set on the Hub (`hf://datasets/ORG/NAME[@REVISION]`)."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import huggingface_hub

from cxr_max.data.readers import SUFFIXES, kind_of
from cxr_max.errors import CxrMaxError, DataError, MissingFileError, UsageError
from cxr_max.folders import cache_dir, private_dir

_HUB = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?/?")
_NO_DATA = frozenset({"dataset_info.json", "dataset_infos.json", "manifest.json", "croissant.json", "config.json"})


class Source(NamedTuple):
    """One raw file: where it lies, the name that is recorded, and for files of the Hub repository and commit."""

    path: Path
    name: str
    repo: str | None = None
    revision: str | None = None

    def describe(self) -> dict[str, str | int]:
        """The entry of the manifest: name, bytes, sha256, and repo and revision if any."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry: dict[str, str | int] = {"name": self.name, "bytes": self.path.stat().st_size, "sha256": digest}
        if self.repo and self.revision:
            entry |= {"repo": self.repo, "revision": self.revision}
        return entry


def find(raw: Sequence[str | Path]) -> list[Source]:
    """All raw files that the given places hold; one that is reached twice is read once.

    Raises:
        MissingFileError: a path does not exist, or a folder holds no raw file.
        UsageError: nothing was given, or an address is malformed.
        DataError: the Hub cannot be reached or refuses.
    """
    if not raw:
        raise UsageError("no raw files are given", next="cxr-max build RAW... --out DIR --version X.Y.Z")
    found: dict[Path, Source] = {}
    for place in raw:
        for source in _from_hub(str(place)) if str(place).startswith("hf://") else _local(Path(place)):
            found.setdefault(source.path.resolve(), source)
    return list(found.values())


def _local(path: Path, repo: str | None = None, revision: str | None = None) -> list[Source]:
    if path.is_file():
        if not kind_of(path):
            raise UsageError(f"{path.name}: unknown kind of file; known: {', '.join(SUFFIXES)}")
        return [Source(path, path.name, repo, revision)]
    if not path.is_dir():
        raise MissingFileError(f"no file or folder at {path}")
    found = []
    # Links to folders are not followed, since they may lead round in circles; links to files are.
    for folder, names, files in os.walk(path, followlinks=False):
        names[:] = sorted(n for n in names if not n.startswith("."))
        for name in sorted(files):
            file = Path(folder) / name
            if not name.startswith(".") and name not in _NO_DATA and kind_of(file) and file.is_file():
                found.append(Source(file, file.relative_to(path).as_posix(), repo, revision))
    if not found:
        raise MissingFileError(f"{path} holds no raw file; known kinds: {', '.join(SUFFIXES)}")
    return found


def _from_hub(address: str) -> list[Source]:
    named = _HUB.fullmatch(address)
    if named is None:
        raise UsageError(f"{address!r} is not hf://datasets/ORG/NAME[@REVISION]")
    repo, revision = named["repo"], named["revision"]
    try:
        commit = huggingface_hub.HfApi().dataset_info(repo, revision=revision).sha
        folder = huggingface_hub.snapshot_download(
            repo, repo_type="dataset", revision=commit, cache_dir=private_dir(cache_dir() / "hub"),
            allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],
        )  # fmt: skip
    except CxrMaxError:
        raise
    except Exception as e:
        # The client's own errors, and those of whichever HTTP library its version uses.
        raise DataError(
            f"cannot fetch {address}: {type(e).__name__}",
            next="check name, revision and access; hf auth login for a gated one",
        ) from e
    return _local(Path(folder), repo, commit)
