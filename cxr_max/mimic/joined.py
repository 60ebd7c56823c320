"""Join a release to the user's own copy of MIMIC-CXR: rows, and an account of everything that did not match."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max import folders, mimic
from cxr_max.errors import UnknownNameError
from cxr_max.mimic import coverage, match, reports, store, tables
from cxr_max.mimic.coverage import Coverage
from cxr_max.mimic.layout import MimicRoot, open_root
from cxr_max.mimic.match import INSTANCE, Matched, Options
from cxr_max.schema import FINDINGS, LABELERS, Scannable, table

ADDED: tuple[str, ...] = (
    "images", "image_status", "report_status", "label_status", "agreement", "evaluation_sets", *FINDINGS,
)  # fmt: skip
"""Columns that `Joined.frame` adds to the release's trajectories; all of class source."""

JOINED_TABLES: tuple[str, ...] = ("references", "images", "labels", "overlap")
TEXTS: tuple[str, ...] = ("findings", "impression", "last_paragraph", "text_to_label", "text_section")


@dataclass(frozen=True)
class Joined:
    """A release joined to MIMIC-CXR; itself something that `.scan` and `.manifest` can be asked of.

    Attributes:
        release: what was joined.
        root: to what.
        options: how.
        matched: per instance and per image.
        coverage: what matched, what is missing, what contradicts.
        folder: where the join is kept in the private cache; None when it is not.
    """

    release: Scannable
    root: MimicRoot
    options: Options
    matched: Matched
    coverage: Coverage
    folder: Path | None = None
    _kept: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The release's manifest."""
        return self.release.manifest

    @property
    def fingerprint(self) -> str | None:
        """Changes when the release, the tables, or what was found of images and reports does; None when not kept."""
        return store.fingerprint(self.folder.name) if self.folder else None

    @property
    def synthetic(self) -> bool:
        """Whether both the release and the root are synthetic; otherwise every rule for restricted data holds."""
        return bool(self.manifest.get("synthetic")) and self.root.synthetic

    @property
    def frame(self) -> pl.LazyFrame:
        """One row per trajectory of the release, with the columns `ADDED`; report text is left where it is.

        `images` are absolute paths (empty list when none was found); the 14 labels are those of `options.labeler`.
        """
        added = self.matched.instances.lazy().select("instance_id", *ADDED)
        rows: pl.LazyFrame = self.release.scan("trajectories")
        return rows.join(added, on="instance_id", how="left", maintain_order="left")

    @property
    def frame_with_text(self) -> pl.LazyFrame:
        """`frame` with the columns `TEXTS`: the report of each instance's study, read on first use and kept."""
        text = self.scan("references").select("instance_id", *TEXTS)
        return self.frame.join(text, on="instance_id", how="left", maintain_order="left")

    def scan(self, name: str) -> pl.LazyFrame:
        """A table of the release, or one of `JOINED_TABLES` (see `cxr_max.schema`).

        Raises:
            UnknownNameError: neither the release nor a join has it.
            DataError: a file under the root cannot be read.
        """
        if name == "images":
            return self.matched.images.lazy()
        if name == "overlap":
            return self.matched.instances.lazy().select("instance_id", "subject_id", "evaluation_sets")
        if name == "references":
            return self._references()
        if name == "labels":
            return self._keep("labels", self._labels).lazy()
        rows: pl.LazyFrame = self.release.scan(name)
        return rows

    def dataset(self, name: str = "trajectories", *, split: str | None = None, text: bool = True) -> Any:
        """The rows as `datasets.Dataset`, images decoded when read; see `cxr_max.mimic.forms.dataset`."""
        return mimic.forms.dataset(self, name, split=split, text=text)

    def iterable(
        self, name: str = "trajectories", *, split: str | None = None, text: bool = True, shards: int = 1
    ) -> Any:
        """The same rows as `datasets.IterableDataset`, in `shards` for as many data loader workers."""
        return self.dataset(name, split=split, text=text).to_iterable_dataset(num_shards=shards)

    def torch(
        self,
        name: str = "trajectories",
        *,
        split: str | None = None,
        text: bool = True,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Any:
        """The same rows as `torch.utils.data.Dataset`; `transform` is called on each row (a dict).

        Raises:
            MissingExtraError: torch is not installed.
        """
        rows = self.dataset(name, split=split, text=text)
        return mimic.torch_dataset.TorchDataset(rows, transform)

    def export(self, out: Path, *, text: bool = True) -> list[Path]:
        """Write the joined tables, the coverage and its counts into a folder, restricted unless all is synthetic.

        Each file is whole or absent; `coverage.json` comes last.

        Args:
            out: absent, empty, or to be replaced file by file.
            text: also the reports.

        Returns:
            The files written.

        Raises:
            RestrictedDataError: `out` lies in a git work tree.
        """
        names = [name for name in JOINED_TABLES if name != "references" or text]
        folders.output_dir(out, synthetic=self.synthetic)
        written = []
        with folders.sibling(out / "tables") as draft:
            for name in names:
                self.scan(name).collect().write_parquet(draft / f"{name}.parquet")
            self.coverage.instances.write_parquet(draft / "coverage.parquet")
            folders.write_atomic(draft / "coverage.json", json.dumps(self.coverage.counts(), indent=2))
            for path in sorted(draft.iterdir(), key=lambda p: p.name == "coverage.json"):
                os.replace(path, out / path.name)
                written.append(out / path.name)
            draft.rmdir()
        folders.fsync_dir(out)
        return written

    def _references(self) -> pl.LazyFrame:
        path = self.folder / "references.parquet" if self.folder else None
        if path is not None and path.is_file():
            return pl.scan_parquet(path)
        frame = self._keep("references", self._read_reports)
        if path is not None and path.parent.is_dir():
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            frame.write_parquet(draft)
            os.replace(draft, path)
        return frame.lazy()

    def _read_reports(self) -> pl.DataFrame:
        instances = self.matched.instances.select("instance_id", "subject_id", "study_id", "report_status")
        clear = pl.col("report_status") == "present"
        read = reports.references(self.root, instances.filter(clear).drop("report_status"))
        names = table("references").names
        nothing = [pl.lit(None, pl.String).alias(n) for n in names if n not in (*INSTANCE, "report_status")]
        rest = instances.filter(~clear).with_columns(*nothing, pl.lit("missing").alias("report_status")).select(names)
        order = instances.select("instance_id")
        return order.join(pl.concat([read, rest]), on="instance_id", how="left", maintain_order="left")

    def _labels(self) -> pl.DataFrame:
        studies = self.matched.instances.lazy().select("study_id").unique()
        have = [name for name in LABELERS if self.root.has(name)]
        frames = [self.root.labels(n, only=studies).drop("subject_id") for n in have]
        empty = pl.DataFrame(schema=table("labels").polars())
        return pl.concat([empty, *tables.collect(*frames)]).unique(maintain_order=True)

    def _keep(self, name: str, make: Any) -> pl.DataFrame:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]


def join(
    release: Scannable,
    root: "MimicRoot | Path | str | Iterable[Path | str] | None" = None,
    *,
    options: Options | None = None,
    refresh: bool = False,
) -> Joined:
    """Join a release to MIMIC-CXR.

    Nothing is dropped: `Joined.frame` has every trajectory of the release, and `Joined.coverage` says of each what it
    lacks. The result is kept in the private cache (see `cxr_max.mimic.store`).

    Args:
        release: anything with `.scan(table)` and `.manifest`.
        root: an open root, one or more folders, or None for the configured roots.
        options: labeler, preferred kind of image, whether to verify hashes.
        refresh: compute anew, whatever the cache holds.

    Raises:
        MissingFileError: no MIMIC-CXR at the root.
        DataError: a table or archive cannot be read.
        UnknownNameError: an unknown labeler.
    """
    options = options or Options()
    if options.labeler not in LABELERS:
        raise UnknownNameError.of("labeler", options.labeler, LABELERS)
    opened = _open(root)
    key = store.key(release.manifest, opened, options)
    kept = store.load(key) if key and not refresh else None
    if kept is None or match.found_again(kept, opened, options):
        wanted = release.scan("instances").select(*INSTANCE, "dicom_ids", "diseases").collect()
        kept = match.match(wanted, opened, options)
        if key:
            store.save(key, kept)
    statuses = kept.instances.select(*INSTANCE, *coverage.STATUSES, "evaluation_sets")
    account = Coverage(statuses, kept.bad_tables, release.scan("trajectories"))
    return Joined(release, opened, options, kept, account, store.folder(key) if key else None)


def check_out(out: Path, *, overwrite: bool = False) -> None:
    """Check, before any work, that `Joined.export` may write to a folder.

    Raises:
        UsageError: it holds something and `overwrite` is off, or cannot be made.
    """
    folders.new_dir(out, overwrite=overwrite)


def _open(root: "MimicRoot | Path | str | Iterable[Path | str] | None") -> MimicRoot:
    if isinstance(root, MimicRoot):
        return root
    if root is None:
        return open_root()
    return open_root(root) if isinstance(root, str | Path) else open_root(*root)
