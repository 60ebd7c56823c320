"""What a join computed, kept in the private cache under a key of all that went in.

The key holds the release's content hashes, the identity (path, size, time of change) of every table, archive and folder
of the root, the options and the version of this code. Images and reports that were missing are looked for again; of
what was found, absence is noticed when it is read.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max import __version__, folders
from cxr_max.mimic.layout import MimicRoot
from cxr_max.mimic.match import Matched, Options

FORMAT = 1
_FRAMES = ("instances", "images")
_STATE = "join.json"


def key(manifest: Mapping[str, Any], root: MimicRoot, options: Options) -> str | None:
    """Key of a join; None when the release does not tell its content hashes, so that nothing may be kept."""
    contents = {name: t.get("content_hash") for name, t in manifest.get("tables", {}).items()}
    if not contents or not all(contents.values()):
        return None
    state = [FORMAT, __version__, manifest.get("version"), contents, asdict(options), identities(root)]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:32]


def identities(root: MimicRoot) -> list[tuple[str, int, int]]:
    """Path, size and time of the last change (ns) of everything a root was recognised by."""
    found = []
    for path in root.layout.places():
        state = path.stat()
        # The size of a folder says nothing that its time of change does not.
        found.append((str(path), 0 if path.is_dir() else state.st_size, state.st_mtime_ns))
    return found


def folder(key: str) -> Path:
    """Where a join is kept; it need not exist."""
    return folders.cache_path() / "joins" / key


def load(key: str) -> Matched | None:
    """What was kept under a key; None when there is nothing whole."""
    path = folder(key)
    try:
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        frames = [pl.read_ipc(path / f"{name}.arrow") for name in _FRAMES]
    except (OSError, ValueError, pl.exceptions.PolarsError):
        return None
    return Matched(frames[0], frames[1], tuple(state["bad_tables"]))


def save(key: str, matched: Matched) -> Path:
    """Keep a join; a kill leaves either nothing or all of it. Returns its folder."""
    path = folder(key)
    folders.private_dir(folders.cache_dir() / "joins")
    with folders.sibling(path) as draft:
        content = hashlib.sha256()
        for name in _FRAMES:
            file = draft / f"{name}.arrow"
            getattr(matched, name).write_ipc(file)
            content.update(file.read_bytes())
        state = {"bad_tables": matched.bad_tables, "content": content.hexdigest()}
        folders.write_atomic(draft / _STATE, json.dumps(state), mode=0o600)
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    return path


def fingerprint(key: str) -> str | None:
    """Changes with what is kept under a key, such as when a missing image appeared; None when nothing is kept."""
    try:
        return str(json.loads((folder(key) / _STATE).read_text(encoding="utf-8"))["content"])
    except (OSError, ValueError, KeyError):
        return None
