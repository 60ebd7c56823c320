"""Data classes carried by the columns themselves, where a library allows it, and datasets that refuse to be written.

Hugging Face: `RestrictedText` is a string feature whose `embed_storage` refuses, which stops `save_to_disk` and
`push_to_hub` of any dataset that has such a column (as `Radiograph` does for images). `RestrictedDataset` refuses
`to_parquet`, `to_csv`, `to_json`, `to_sql`, `save_to_disk` and `push_to_hub` unless told `allow_restricted=True` and
given a local path outside of any git work tree; `push_to_hub` has no local path, so it always refuses.

Polars (from 1.36): `mark` gives string columns the extension dtype of `restricted_dtype`, which refuses CSV and keeps
its class in Parquet and Arrow; `unmark` gives plain strings back for computing.

The ways a class is lost; for what then gets written, `cxr_max.mimic.guard` scans:
    Hugging Face: `concatenate_datasets` and `interleave_datasets` (the columns keep their type, the dataset does not
        refuse any more); `.data`, `to_dict`, `to_list`, `to_pandas`, `to_polars`; rows read one by one; columns that
        `map` adds; `cast_column(name, Value("string"))`; a format or class of another library.
    Polars: `unmark`, `.ext.storage()`, `.to_list()`, `.rows()`, `to_pandas`; JSON writers; a Polars without extension
        dtypes, or a process that has not imported this module, reads the Parquet column as plain strings.
"""

import copy
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import datasets
import polars as pl
import pyarrow as pa
from datasets.features import features as registry

from cxr_max.errors import RestrictedDataError, UnknownNameError
from cxr_max.folders import refuse_git
from cxr_max.schema import DATA_CLASSES

FEATURE = "RestrictedText"
DTYPE = "cxr_max.restricted"
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass
class RestrictedText:
    """Feature type of a string column of class source or derived; its rows are plain strings.

    Attributes:
        data_class: source | derived.
    """

    data_class: str = "source"
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "string"
    pa_type: ClassVar[Any] = pa.string()
    _type: str = field(default=FEATURE, init=False, repr=False)

    def __call__(self) -> Any:
        """The Arrow type, as `datasets` asks for it."""
        return self.pa_type

    def encode_example(self, value: Any) -> str | None:
        """The string to store."""
        return None if value is None else str(value)

    def cast_storage(self, storage: Any) -> Any:
        """Arrow strings as the storage of this type."""
        return storage.cast(self.pa_type)

    def embed_storage(self, storage: Any, *_: Any, **__: Any) -> Any:
        """Never embeds.

        Raises:
            RestrictedDataError: always; `datasets` asks for this before it saves or uploads.
        """
        raise RestrictedDataError(
            f"a column of class {self.data_class} is not written into files that may be shared",
            next="drop the column, or write with allow_restricted=True to a local path",
        )


def register() -> None:
    """Make the types known to `datasets` and Polars, so that tables that name them can be opened; done on import."""
    if registry._FEATURE_TYPES.get(FEATURE) is not RestrictedText:
        registry._FEATURE_TYPES[FEATURE] = RestrictedText
    if _EXTENSIONS and pl.get_extension_type(DTYPE) is None:  # type: ignore[attr-defined, unused-ignore]
        pl.register_extension_type(DTYPE, RestrictedString)


_EXTENSIONS = hasattr(pl, "BaseExtension")
_Base: Any = pl.BaseExtension if _EXTENSIONS else object


class RestrictedString(_Base):  # type: ignore[misc, unused-ignore]
    """Polars dtype of a string column of class source or derived; where Polars lacks extension dtypes it is not used.

    Args:
        data_class: source | derived; stored as the dtype's metadata.
    """

    def __init__(self, data_class: str = "source") -> None:
        super().__init__(DTYPE, pl.String, data_class)

    @classmethod
    def ext_from_params(cls, name: str, storage: Any, metadata: str | None) -> "RestrictedString":
        """The dtype from what a file says."""
        return cls(metadata or "source")


register()


def mark(frame: Frame, classes: Mapping[str, str]) -> Frame:
    """Give string columns the dtype of their class; other columns, and all where Polars is too old, stay as they are.

    Args:
        frame: any frame.
        classes: column -> source | derived | index; columns of class index and unknown names are left alone.

    Raises:
        UnknownNameError: not a data class.
    """
    for data_class in classes.values():
        if data_class not in DATA_CLASSES:
            raise UnknownNameError.of("data class", data_class, DATA_CLASSES)
    schema = frame.lazy().collect_schema()
    marked = [
        _ext(name).to(RestrictedString(data_class))
        for name, data_class in classes.items()
        if _EXTENSIONS and data_class != "index" and schema.get(name) == pl.String
    ]
    return frame.with_columns(*marked)


def unmark(frame: Frame) -> Frame:
    """Plain strings again, for computing; the class is lost."""
    return frame.with_columns(*(_ext(name).storage() for name in classes_of(frame)))


def classes_of(frame: pl.DataFrame | pl.LazyFrame) -> dict[str, str]:
    """The marked columns and their classes."""
    schema = frame.lazy().collect_schema()
    return {n: str(t.ext_metadata()) for n, t in schema.items() if _EXTENSIONS and isinstance(t, RestrictedString)}


def _ext(name: str) -> Any:
    return getattr(pl.col(name), "ext")  # noqa: B009


_WRITERS = ("to_parquet", "to_csv", "to_json", "to_sql", "save_to_disk", "push_to_hub")
_KEEPERS = (
    "add_column", "add_item", "align_labels_with_mapping", "batch", "cast", "cast_column", "class_encode_column",
    "decode", "filter", "flatten", "flatten_indices", "map", "remove_columns", "rename_column",
    "rename_columns", "repeat", "reshard", "select", "select_columns", "shard", "shuffle", "skip", "sort", "take",
    "to_iterable_dataset", "train_test_split", "with_format", "with_transform",
)  # fmt: skip


def restrict(result: Any) -> Any:
    """A `Dataset`, `IterableDataset` or dict of them as its refusing kind; anything else as it came."""
    for plain, restricted in _KINDS:
        if isinstance(result, plain) and not isinstance(result, restricted):
            # The same object with another class: a copy would not share its file, fingerprint and cache.
            result.__class__ = restricted
    if isinstance(result, dict):
        for part in result.values():
            restrict(part)
    return result


def _refusing(base: type, name: str) -> Callable[..., Any]:
    original = getattr(base, name)

    @wraps(original)
    def write(self: Any, *args: Any, allow_restricted: bool = False, **options: Any) -> Any:
        target = _local(name, args, options)
        if not allow_restricted or target is None:
            raise RestrictedDataError(
                f"{name} would take MIMIC-CXR content out of its folder",
                next=f"{name}(path, allow_restricted=True) with a path on this machine; nothing may be uploaded",
            )
        refuse_git(target)
        return original(_plain(self), *args, **options)

    return write


def _local(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> Path | None:
    """The local path written to; None when there is none."""
    if name == "push_to_hub":
        return None
    if name == "to_sql":
        database = args[1] if len(args) > 1 else options.get("con")
        if isinstance(database, sqlite3.Connection):
            return Path(database.execute("pragma database_list").fetchone()[2] or ".")
        return Path(str(database)[len("sqlite:///") :]) if str(database).startswith("sqlite:///") else None
    names = ("dataset_path", "dataset_dict_path", "path_or_buf")
    target = args[0] if args else next((options[n] for n in names if n in options), None)
    return Path(target) if isinstance(target, str | Path) and "://" not in str(target) else None


def _plain(data: Any) -> Any:
    """The data as the library's own class, columns that refuse to be embedded as the strings they are."""
    if isinstance(data, dict):
        return datasets.DatasetDict({name: _plain(part) for name, part in data.items()})
    plain = copy.copy(data)
    plain.__class__ = datasets.Dataset if isinstance(data, datasets.Dataset) else datasets.IterableDataset
    plain._info = copy.deepcopy(data._info)
    if data.features is not None:
        strings = {n: datasets.Value("string") for n, t in data.features.items() if hasattr(t, "embed_storage")}
        plain._info.features = datasets.Features({**data.features, **strings})
    return plain


def _keeping(base: type, name: str) -> Callable[..., Any]:
    original = getattr(base, name)

    @wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        return restrict(original(self, *args, **options))

    return method


def _methods(base: type) -> dict[str, Any]:
    found: dict[str, Any] = {name: _refusing(base, name) for name in _WRITERS if hasattr(base, name)}
    return found | {name: _keeping(base, name) for name in _KEEPERS if hasattr(base, name)}


class RestrictedDataset(datasets.Dataset):  # type: ignore[misc, unused-ignore]
    """A `datasets.Dataset` of class source: refuses to be written or uploaded, and so do all made from it."""

    locals().update(_methods(datasets.Dataset))


class RestrictedIterableDataset(datasets.IterableDataset):  # type: ignore[misc, unused-ignore]
    """The same for `datasets.IterableDataset`."""

    locals().update(_methods(datasets.IterableDataset))


class RestrictedDatasetDict(datasets.DatasetDict):  # type: ignore[misc, unused-ignore]
    """The same for `datasets.DatasetDict`."""

    locals().update(_methods(datasets.DatasetDict))


_KINDS: tuple[tuple[type, type], ...] = (
    (datasets.Dataset, RestrictedDataset),
    (datasets.IterableDataset, RestrictedIterableDataset),
    (datasets.DatasetDict, RestrictedDatasetDict),
)
