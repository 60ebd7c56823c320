"""The builder behind `load_dataset("cxr-max", ...)`, for `datasets` 3.6 and newer.

What `datasets` materialises (always Arrow unless streaming) goes to `$CXR_MAX_CACHE`, a folder only its owner can
open, never to the shared Hugging Face cache. The folder's name holds the hash of the release's manifest, so that a
changed release is never answered from an older one's Arrow files.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.table import table_cast

from cxr_max import data
from cxr_max.data import intact, locate, places, splits
from cxr_max.data.card import CITATION, HOMEPAGE, LICENSE
from cxr_max.errors import DataError, UnknownNameError, UsageError
from cxr_max.folders import cache_path
from cxr_max.hook import NAME
from cxr_max.schema import TABLES

RELEASED: tuple[str, ...] = tuple(t.name for t in TABLES.values() if t.released)
DEFAULT = "trajectories"
JOINED_FROM: tuple[str, ...] = ("instances", "trajectories")
"""Tables a join to MIMIC-CXR reads, whichever table is loaded."""

SYNTHETIC = locate.SYNTHETIC
ROWS_PER_SHARD = 4096
"""Rows of one unit of parallel work: large enough for Arrow, small enough for several workers per file."""

_CAST = 1
"""Raised when rows are cast in another way, so that Arrow files of older casts are not served."""


@dataclasses.dataclass
class CxrMaxConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """One table of one release.

    Attributes:
        release: folder, `org/name[@revision]`, or None for the order of `cxr_max.data.locate`.
        revision: version the release must be.
        mimic_root: folder of the user's MIMIC-CXR; the rows are then joined to it.
        key: what the rows depend on besides the table, for the folder of the Arrow files; set by the builder.
    """

    release: Any = None
    revision: str | None = None
    mimic_root: Any = None
    key: str = ""

    def create_config_id(self, config_kwargs: Any, custom_features: Any = None) -> str:
        """Name of the folder of the Arrow files: the same release at two places shares it."""
        del config_kwargs, custom_features
        return f"{self.name}-{self.key}" if self.key else str(self.name)


class CxrMax(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Loads one table of a release; made by `datasets` itself or by `cxr_max.load_dataset`."""

    BUILDER_CONFIG_CLASS = CxrMaxConfig
    BUILDER_CONFIGS = [
        *(CxrMaxConfig(name=name, description=TABLES[name].doc) for name in RELEASED),
        CxrMaxConfig(name=SYNTHETIC, description="trajectories of a small simulated world, built in"),
    ]
    DEFAULT_CONFIG_NAME = DEFAULT

    def __init__(
        self,
        cache_dir: str | None = None,
        config_name: str | None = None,
        *,
        release: Any = None,
        revision: str | None = None,
        mimic_root: Any = None,
        **kwargs: Any,
    ) -> None:
        """Find the release and say which one it is.

        Raises:
            UnknownNameError: no such table.
            UsageError: arguments that exclude each other, or several releases that could be meant.
            MissingFileError, DataError: no release, or a broken one.
            RestrictedDataError: the cache would be readable by others or lie inside a MIMIC root.
        """
        name = config_name or DEFAULT
        if name not in (*RELEASED, SYNTHETIC):
            raise UnknownNameError.of("table", name, (*RELEASED, SYNTHETIC))
        if kwargs.pop("data_files", None) is not None or kwargs.pop("data_dir", None) is not None:
            raise UsageError(f"{NAME} takes no data_files or data_dir", next="release= names the folder")
        if name == SYNTHETIC and release is not None:
            raise UsageError("the table 'synthetic' is built in and takes no release=", next=f"name={DEFAULT!r}")
        places.refuse_roots(cache_path(), mimic_root)
        self._table = DEFAULT if name == SYNTHETIC else name
        self._located = locate.locate(
            SYNTHETIC if name == SYNTHETIC else release,
            revision,
            tables=dict.fromkeys((self._table, *(JOINED_FROM if mimic_root is not None else ()))),
            token=kwargs.get("token"),
            synthetic=data.synthetic.folder,
        )
        if self._table not in self._located.tables:
            listed = ", ".join(self._located.tables)
            raise UnknownNameError.of("table", self._table, self._located.tables, next=f"{self._located} has: {listed}")
        _say(str(self._located))
        self._mimic_root = mimic_root
        self._join = data.joining.Join(self._located, mimic_root) if mimic_root is not None else None
        hash = f"{self._located.sha256}-{_CAST}"
        if kwargs.get("features") is not None:
            hash = f"{hash}-{datasets.fingerprint.Hasher.hash(kwargs['features'])}"
        if self._join is not None:
            hash = f"{hash}-{self._join.key}"
        kwargs.update(
            hash=hash, dataset_name=NAME, key=hashlib.sha256(hash.encode()).hexdigest()[:16], version=self._version()
        )
        super().__init__(
            cache_dir=str(places.arrow_root(self._located, cache_dir, mimic_root)),
            config_name=name,
            release=str(self._located.path),
            revision=revision,
            mimic_root=mimic_root,
            **kwargs,
        )
        # Arrow files may have been written for the same release at another place.
        self.info.version = self._version()

    def __getstate__(self) -> dict[str, Any]:
        # Frames stay behind: a worker finds the join in the private cache.
        return {**self.__dict__, "_join": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._mimic_root is not None:
            self._join = data.joining.Join(self._located, self._mimic_root)

    def _version(self) -> datasets.Version:
        """The release's version; `datasets` knows three numbers only, so the whole line is its description."""
        numbers = self._located.version.partition("+")[0].partition("-")[0]
        try:
            return datasets.Version(numbers, description=str(self._located))
        except ValueError:
            raise DataError(f"{self._located.source} has version {self._located.version!r}, not X.Y.Z") from None

    def _info(self) -> datasets.DatasetInfo:
        paths = self._paths()
        first = next((p for files in paths.values() for p in files), None)
        if first is None:
            columns = TABLES[self._table].names
        else:
            present = set(_schema(first).names)
            columns = tuple(c for c in TABLES[self._table].names if c in present)
        features = TABLES[self._table].features(columns)
        if self._join is not None:
            features = self._join.features(self._table, columns)
        return datasets.DatasetInfo(
            description=f"{TABLES[self._table].doc}; {self._located}",
            citation=CITATION,
            homepage=HOMEPAGE,
            license=LICENSE,
            features=features,
        )

    def _paths(self) -> dict[str, list[Path]]:
        files = self._located.files(self._table)
        checked = iter(intact.check(self._located, [n for names in files.values() for n in names]))
        return {split: [next(checked) for _ in names] for split, names in files.items()}

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        del dl_manager
        made = []
        for split, paths in self._paths().items():
            units = [(str(p), groups) for p in paths for groups in _units(p)]
            # datasets shares out lists of equal length among its workers.
            gen_kwargs = {"files": [f for f, _ in units], "row_groups": [g for _, g in units]}
            made.append(datasets.SplitGenerator(name=split, gen_kwargs=gen_kwargs))
        return made

    def _generate_tables(self, files: list[str], row_groups: list[list[int]]) -> Iterator[tuple[Any, pa.Table]]:
        schema = self.info.features.arrow_schema
        own = [c for c in TABLES[self._table].names if c in schema.names]
        for i, (file, groups) in enumerate(zip(files, row_groups, strict=True)):
            with pq.ParquetFile(file) as parquet:
                # One by one, so that a stream's first row costs one row group.
                for k, group in enumerate(groups):
                    table = parquet.read_row_group(group, columns=own)
                    if self._join is not None:
                        table = self._join.apply(table, schema.names)
                    yield (i, k), table_cast(table.replace_schema_metadata(None), schema)

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """As in `datasets`; files and folders end with no rights for others."""
        super().download_and_prepare(*args, **kwargs)
        self.info.version = self._version()
        places.close(Path(self._output_dir), Path(self._cache_dir_root))

    def as_dataset(self, split: Any = None, **kwargs: Any) -> Any:
        """As in `datasets`; `split` also accepts validate, val and dev."""
        return super().as_dataset(split=splits.to_hf(split), **kwargs)

    def as_streaming_dataset(self, split: Any = None, **kwargs: Any) -> Any:
        """As in `datasets`; `split` also accepts validate, val and dev."""
        return super().as_streaming_dataset(split=splits.to_hf(split), **kwargs)


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as e:
        raise DataError(f"{path} is not a readable Parquet file: {type(e).__name__}") from e


def _units(path: Path) -> Iterator[list[int]]:
    """Runs of row groups with about `ROWS_PER_SHARD` rows."""
    meta = pq.read_metadata(path)
    run: list[int] = []
    rows = 0
    for i in range(meta.num_row_groups):
        run.append(i)
        rows += meta.row_group(i).num_rows
        if rows >= ROWS_PER_SHARD:
            yield run
            run, rows = [], 0
    if run:
        yield run


def _keep_streaming_patches_off() -> None:
    # For streaming, `datasets` replaces open, Path and more in a builder's module, and versions before 4 leave a lock
    # file beside our installed package, which may be read-only. Releases are local files: nothing of it is needed.
    module = datasets.builder
    original = getattr(module, "extend_dataset_builder_for_streaming", None)
    if original is not None and not hasattr(original, "__cxr_max_wraps__"):

        def extend(builder: Any) -> None:
            if not isinstance(builder, CxrMax):
                original(builder)

        extend.__cxr_max_wraps__ = original  # type: ignore[attr-defined]
        module.extend_dataset_builder_for_streaming = extend


def _say(line: str) -> None:
    # Standard error, so that what a program prints on standard output stays its own.
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")


_keep_streaming_patches_off()
