"""What a release really holds, looked at before any of it leaves: its manifest alone is not believed."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from cxr_max.data import index, layout
from cxr_max.data.locate import Located
from cxr_max.data.verify import verify
from cxr_max.errors import CheckFailedError, RestrictedDataError
from cxr_max.schema import TABLES

LICENSE = "LICENSE.txt"
_DOCUMENTS = frozenset((*layout.DOCUMENTS, LICENSE))
_SHOWN = 5


def check(release: Located) -> None:
    """Check a release that is to be published.

    Raises:
        RestrictedDataError: the manifest lists a file that is never published; an index holds a derived column; rows
            are called synthetic that are not marked so.
        CheckFailedError: the release does not verify.
    """
    shards = {}
    for name in release.manifest["files"]:
        shard = layout.parse_shard(name)
        if shard is not None and TABLES[shard.table].released:
            shards[name] = shard.table
        elif name not in _DOCUMENTS:
            raise RestrictedDataError(
                f"the manifest lists {name[:200]!r}, which is neither a table of a release nor one of its documents"
            )
    found = verify(release.path)
    if not found.ok:
        shown = "".join(f"\n    {p.where}: {p.what}" for p in found.problems[:_SHOWN])
        raise CheckFailedError(
            f"{release} does not verify, {len(found.problems)} problems:{shown}", next=f"cxr-max verify {release.path}"
        )
    public = index.data_class(release.manifest) == "index"
    for name, table in shards.items():
        path = layout.safe_path(release.path, name)
        if public:
            _only_index(path, name, table)
        if release.synthetic and not _marked_synthetic(path):
            raise RestrictedDataError(f"the manifest calls the release synthetic, {name} does not")


def _only_index(path: Path, name: str, table: str) -> None:
    derived = set(pq.read_schema(path).names) - set(TABLES[table].of_class("index"))
    if table not in index.TABLES or derived:
        what = ", ".join(sorted(derived)) or f"the table {table}"
        raise RestrictedDataError(f"{name} of an index holds what is not public: {what}")


def _marked_synthetic(path: Path) -> bool:
    try:
        mark = json.loads((pq.read_schema(path).metadata or {})[layout.PARQUET_KEY])
        return bool(mark["synthetic"])
    except (KeyError, ValueError, TypeError):
        return False
