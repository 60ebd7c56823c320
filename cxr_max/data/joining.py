"""Rows of a release with what the user's own MIMIC-CXR says of their instances: image, labels, report sections.

Everything added is of class source: it goes to the private cache and nowhere else.
"""

import os
from collections.abc import Iterable
from typing import Any

import polars as pl
import pyarrow as pa

from cxr_max import mimic
from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.locate import Located
from cxr_max.errors import UsageError

Root = str | os.PathLike[str]
ON = "instance_id"


class Join:
    """A release joined to a root, for any of its tables that has an `instance_id`."""

    def __init__(self, located: Located, root: "Root | Iterable[Root]") -> None:
        """Match the instances; kept in the private cache, so that doing it again is quick.

        Raises:
            MissingFileError: no MIMIC-CXR at the root.
            DataError: a file under the root cannot be read.
        """
        if located.manifest.get("class") == "index":
            raise UsageError(f"{located} is an index without texts and diagnoses; a join needs the full release")
        if isinstance(root, bool):
            raise UsageError(
                "mimic_root= takes a folder or several", next="cxr-max roots show lists what is configured"
            )
        roots = [root] if isinstance(root, str | os.PathLike) else list(root)
        self._joined = mimic.join(ReleaseFolder(located.path, located.manifest), [os.fspath(r) for r in roots])
        self._added: pl.DataFrame | None = None

    @property
    def key(self) -> str:
        """Changes with the release, the root's tables and archives, the images found, and the code of the join."""
        joined = self._joined
        name = joined.folder.name if joined.folder else ""
        return f"{name[:16]}{(joined.fingerprint or os.urandom(16).hex())[:16]}"

    def features(self, table: str, columns: Iterable[str]) -> Any:
        """Types of the table's columns and of those that are added."""
        added = mimic.joined
        names = [*columns, *added.ADDED, *added.TEXTS, "image"]
        return mimic.forms.features(self._joined, names, table)

    def apply(self, rows: pa.Table, names: list[str]) -> pa.Table:
        """Add the columns to rows of a table; no row is lost, what was not found is null."""
        if self._added is None:
            texts = self._joined.scan("references").select(ON, *mimic.joined.TEXTS)
            instances = self._joined.matched.instances.lazy().select(ON, *mimic.joined.ADDED)
            image = pl.col("images").list.first().alias("image")
            self._added = instances.join(texts, on=ON, how="left").with_columns(image).collect()
        frame = pl.DataFrame(pl.from_arrow(rows)).join(self._added, on=ON, how="left", maintain_order="left")
        return frame.select(names).to_arrow(compat_level=pl.CompatLevel.oldest())
