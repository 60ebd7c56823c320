"""The synthetic mark of a file: in its Parquet or Arrow schema, its JSON lines, a manifest above it, beside weights."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from cxr_max.folders import TRAINING, treat_as_real

_ABOVE = 4


def is_synthetic(path: Path) -> bool:
    """Whether a file is marked as synthetic and the mark counts (`CXR_MAX_TREAT_AS_REAL` is not set)."""
    return not treat_as_real() and (_in_manifest(path) or _in_schema(path) or _in_lines(path) or _in_training(path))


def _in_manifest(path: Path) -> bool:
    for folder in list(path.absolute().parents)[:_ABOVE]:
        manifest = folder / "manifest.json"
        if (folder / "SYNTHETIC").is_file():
            return True
        if manifest.is_file():
            try:
                return _marked(json.loads(manifest.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                return False
    return False


def _marked(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("synthetic") is True


def _in_schema(path: Path) -> bool:
    try:
        metadata = (pq.read_schema(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).schema).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return any(k.endswith(b"synthetic") and v.lower() == b"true" for k, v in metadata.items())


def _in_lines(path: Path) -> bool:
    """All lines of a JSON lines file carry the mark."""
    if path.suffix not in (".jsonl", ".ndjson"):
        return False
    try:
        with path.open(encoding="utf-8") as file:
            return all(_marked(json.loads(line)) for line in file if line.strip())
    except (OSError, ValueError):
        return False


def _in_training(path: Path) -> bool:
    """What the weights of this folder were trained on carries the mark."""
    try:
        return _marked(json.loads((path.parent / TRAINING).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
