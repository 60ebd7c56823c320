"""A join as a Hugging Face dataset: rows in an Arrow file of the private cache, images decoded when a row is read."""

import os
import tempfile
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_max import folders
from cxr_max.errors import UnknownNameError
from cxr_max.mimic.classes import RestrictedText, restrict
from cxr_max.mimic.features import Radiograph
from cxr_max.mimic.joined import ADDED, TEXTS, Joined
from cxr_max.schema import FINDINGS, HF_SPLITS, canonical_split, table

TABLES: tuple[str, ...] = ("trajectories", "instances")
_BATCH = 20_000


def rows(joined: Joined, name: str = "trajectories", *, split: str | None = None, text: bool = True) -> pl.LazyFrame:
    """What a dataset of a join holds: the release's table, `image`, the columns `ADDED`, and with `text` `TEXTS`.

    `image` is the first of `images`, null when none was found.

    Raises:
        UnknownNameError: not a table of `TABLES`, or not a split.
    """
    if name not in TABLES:
        raise UnknownNameError.of("joined table", name, TABLES)
    frame = joined.scan(name)
    if split is not None:
        frame = frame.filter(pl.col("split") == canonical_split(split))
    added = joined.matched.instances.lazy().select("instance_id", *ADDED)
    frame = frame.join(added, on="instance_id", how="left", maintain_order="left")
    if text:
        references = joined.scan("references").select("instance_id", *TEXTS)
        frame = frame.join(references, on="instance_id", how="left", maintain_order="left")
    return frame.with_columns(pl.col("images").list.first().alias("image"))


def features(joined: Joined, columns: list[str], name: str = "trajectories") -> datasets.Features:
    """Feature types of `rows`, in the order of `columns`."""
    types: dict[str, Any] = dict(table(name).features([c for c in columns if c in table(name).names]))
    strings = datasets.Value("string")
    types["image"] = Radiograph()
    types |= {c: [strings] for c in ("images", "evaluation_sets")}
    types |= dict.fromkeys(("image_status", "report_status", "label_status", "agreement", *TEXTS), strings)
    if folders.is_restricted(joined.synthetic):
        types |= dict.fromkeys((n for n in TEXTS if n != "text_section"), RestrictedText("source"))
    types |= {c: datasets.Value("int8") for c in FINDINGS}
    return datasets.Features({c: types[c] for c in columns})


def dataset(
    joined: Joined, name: str = "trajectories", *, split: str | None = None, text: bool = True
) -> datasets.Dataset:
    """A join as `datasets.Dataset`, memory-mapped from the private cache.

    Args:
        joined: from `cxr_max.mimic.join`.
        name: trajectories | instances.
        split: train | validate | test in any accepted spelling; None for all rows.
        text: with the reports' sections.

    Returns:
        One row per row of the table, none left out; `image` decodes to a PIL image when it is read. Unless all is
        synthetic it is a `cxr_max.mimic.classes.RestrictedDataset`, which refuses to be written or uploaded.

    Raises:
        UnknownNameError, DataError: see `rows` and `Joined.scan`.
    """
    frame = rows(joined, name, split=split, text=text)
    types = features(joined, frame.collect_schema().names(), name)
    part = canonical_split(split) if split is not None else "all"
    info = datasets.DatasetInfo(description="CXR-MAX joined to MIMIC-CXR", features=types)
    info.version = datasets.Version(str(joined.manifest.get("version", "0.0.0")).partition("+")[0])
    kept = joined.folder / f"{name}-{part}{'-text' if text else ''}.arrow" if joined.folder else None
    if kept is None:
        place = Path(tempfile.mkdtemp(dir=folders.private_dir(folders.cache_dir() / "joins"), prefix="unkept-"))
        kept = place / "rows.arrow"
    if not kept.is_file():
        _write(frame, types, kept)
    named = datasets.NamedSplit(HF_SPLITS[part]) if split is not None else None
    made = datasets.Dataset.from_file(str(kept), info=info, split=named)
    return restrict(made) if folders.is_restricted(joined.synthetic) else made


def _write(frame: pl.LazyFrame, types: datasets.Features, path: Path) -> None:
    """Stream rows into an Arrow file: through Parquet, so that they are never all in memory."""
    schema = types.arrow_schema
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    parquet = draft.with_suffix(".parquet")
    try:
        frame.sink_parquet(parquet, compression="lz4", row_group_size=_BATCH)
        with pq.ParquetFile(parquet) as source, pa.ipc.new_stream(str(draft), schema) as out:
            for batch in source.iter_batches(_BATCH):
                out.write_table(pa.Table.from_batches([batch]).cast(schema))
        os.replace(draft, path)
    finally:
        parquet.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)
