"""The public half of a release: ids, splits, views, counts and hashes, without any text, diagnosis or finding.

An index release is a release like any other (it loads, verifies and compares); its tables hold only their columns of
class index, its manifest says `"class": "index"` and keeps the hashes of the full release, so that whoever has the raw
files can rebuild that and see, hash by hash, that it is the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max.data import card, croissant, layout, manifest, writing
from cxr_max.data.locate import Located
from cxr_max.errors import DataError

TABLES: tuple[str, ...] = ("instances", "trajectories")
"""Tables of an index. Steps, findings, consensus and preferences are derived as a whole: their rows tell of texts."""

COUNTS: tuple[str, ...] = ("teacher", "split", "patients", "instances", "trajectories", "generations")
"""Counts an index may state; those per finding or disease tell of texts and labels."""


def write(release: Located, folder: Path) -> manifest.Manifest:
    """Write the index of a full release into an existing, empty folder.

    The same release gives the same bytes, so that an upload that broke off goes on where it stopped.

    Returns:
        The manifest of the index.

    Raises:
        DataError: the release is itself an index, or lacks the tables an index is made from.
    """
    if data_class(release.manifest) != "derived":
        raise DataError(f"{release} is an index already")
    missing = [t for t in TABLES if t not in release.tables]
    if missing:
        raise DataError(f"{release} has no table {', '.join(missing)}; an index is made from {', '.join(TABLES)}")
    made = _head(release)
    made["tables"] = {name: {} for name in TABLES}
    tables = {name: manifest.table_of(made, name) for name in TABLES}
    writer = writing.TableWriter(folder, list(tables.values()), synthetic=release.synthetic)
    shards = {s.path: s for s in map(layout.parse_shard, release.manifest["files"]) if s is not None}
    for split, number, total in sorted({(s.split, s.number, s.total) for s in shards.values() if s.table in TABLES}):
        writer.shard(split, number, total)
        blocks = {}
        for name, table in tables.items():
            path = layout.Shard(name, split, number, total).path
            if path in shards:
                blocks[name] = pl.read_parquet(release.path / path, columns=list(table.names)).cast(table.polars())
        writer.write(blocks)
    made["tables"] = writer.close()
    made["files"] = dict(writer.files)
    made["release_hash"] = manifest.release_hash(made["tables"])
    document(folder, made)
    return manifest.write(folder, made)


def document(folder: Path, made: manifest.Manifest, *, changelog: str | None = None) -> None:
    """Write README.md, croissant.json and CHANGELOG.md of a manifest whose tables are complete, and list them in it."""
    tables = {name: manifest.table_of(made, name) for name in made["tables"]}
    news = changelog or f"# Changelog\n\n## {made['version']}\n\nIndex of the release of this version.\n"
    texts = {
        layout.CARD: card.render(made, tables),
        layout.CROISSANT: croissant.render(made, tables),
        layout.CHANGELOG: news,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        made["files"][name] = writing.file_entry(folder / name)


def data_class(made: Mapping[str, Any]) -> str:
    """The class of a release by its manifest: index or derived."""
    return "index" if made.get("class") == "index" else "derived"


def _head(release: Located) -> manifest.Manifest:
    full = release.manifest
    head = manifest.draft(release.version, synthetic=release.synthetic, seed=full.get("seed"))
    return {
        **head,
        "class": "index",
        "created": full["created"],
        "extracted": full.get("extracted"),
        "full": {
            "manifest_sha256": full.get(manifest.SELF),
            "release_hash": full["release_hash"],
            "tables": {
                name: {k: entry[k] for k in ("rows", "schema_hash", "content_hash")}
                for name, entry in full["tables"].items()
            },
        },
        # Names of raw files are the user's own; their hashes are enough to recognise them.
        "sources": [{k: s[k] for k in ("bytes", "sha256") if k in s} for s in full.get("sources", [])],
        "counts": {k: full["counts"][k] for k in COUNTS if k in full["counts"]},
    }
