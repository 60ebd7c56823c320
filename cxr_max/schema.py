"""The only list of tables, columns, dtypes, keys, data classes, splits and findings, and of cross-package protocols.

Plain Python; the Polars, Arrow and Hugging Face forms of a table are built from it on demand.

Three classes of data, never mixed:
    index: ids, split, view, teacher, counts, hashes. May be public.
    derived: MIMIC derivatives under the PhysioNet credentialed licence; never public, never to a third party.
    source: images, report text, MIMIC tables and everything computed against them per instance; never in a release.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from cxr_max.errors import UnknownNameError
from cxr_max.optional import require

DataClass = Literal["index", "derived", "source"]
Scalar = Literal["str", "bool", "u8", "u16", "u32", "i32", "i64", "f32", "f64"]

DATA_CLASSES: tuple[DataClass, ...] = ("index", "derived", "source")

FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
"""The 14 label names in MIMIC-CXR-JPG's (alphabetical) order. Index by name only: CheXpert orders them otherwise."""

SPLITS: tuple[str, ...] = ("train", "validate", "test")
"""MIMIC-CXR's own spelling, as it stands in the `split` column."""

HF_SPLITS: dict[str, str] = {"train": "train", "validate": "validation", "test": "test"}
SPLIT_ALIASES: dict[str, str] = {"validation": "validate", "val": "validate", "dev": "validate", "valid": "validate"}

STATUSES: tuple[str, ...] = ("present", "uncertain", "absent")
SIDES: tuple[str, ...] = ("left", "right")
UNITS: tuple[str, ...] = ("image", "study")


def canonical_split(name: str) -> str:
    """MIMIC's spelling of a split given in any accepted one.

    Raises:
        UnknownNameError: not a split.
    """
    split = SPLIT_ALIASES.get(name.lower(), name.lower())
    if split not in SPLITS:
        raise UnknownNameError.of("split", name, (*SPLITS, *SPLIT_ALIASES))
    return split


@dataclass(frozen=True)
class ListOf:
    """A list column; `item` is a scalar or a struct."""

    item: "DType"


@dataclass(frozen=True)
class StructOf:
    """A struct column, as (name, dtype) pairs in order."""

    fields: tuple[tuple[str, "DType"], ...]


DType = Scalar | ListOf | StructOf


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as written in Parquet.
        dtype: scalar name, `ListOf` or `StructOf`.
        data_class: index, derived or source.
        key: part of the table's primary key.
        nullable: nulls are allowed.
        allowed: the values allowed, when the column is an enumeration.
        doc: meaning and unit.
    """

    name: str
    dtype: DType
    data_class: DataClass
    key: bool = False
    nullable: bool = False
    allowed: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True)
class Table:
    """One table: its columns in order and whether a release holds it."""

    name: str
    columns: tuple[Column, ...]
    released: bool = True
    doc: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the primary key columns, in order."""
        return tuple(c.name for c in self.columns if c.key)

    @property
    def names(self) -> tuple[str, ...]:
        """All column names, in order."""
        return tuple(c.name for c in self.columns)

    def column(self, name: str) -> Column:
        """A column by name.

        Raises:
            UnknownNameError: the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownNameError.of(f"column of {self.name}", name, self.names)

    def of_class(self, *classes: DataClass) -> tuple[str, ...]:
        """Names of the columns whose data class is among those given."""
        return tuple(c.name for c in self.columns if c.data_class in classes)

    def polars(self, columns: Sequence[str] | None = None) -> Any:
        """The table as `polars.Schema`, all columns or those named."""
        pl = require("polars")
        return pl.Schema({n: _polars(self.column(n).dtype, pl) for n in columns or self.names})

    def arrow(self, columns: Sequence[str] | None = None) -> Any:
        """The table as `pyarrow.Schema`, without any metadata; nullability as declared."""
        pa = require("pyarrow")
        chosen = [self.column(n) for n in columns or self.names]
        return pa.schema([pa.field(c.name, _arrow(c.dtype, pa), nullable=c.nullable) for c in chosen])

    def features(self, columns: Sequence[str] | None = None) -> Any:
        """The table as `datasets.Features`; a list of structs stays one (not a struct of lists)."""
        ds = require("datasets")
        return ds.Features({n: _feature(self.column(n).dtype, ds) for n in columns or self.names})


_POLARS: dict[str, str] = {
    "str": "String", "bool": "Boolean", "u8": "UInt8", "u16": "UInt16", "u32": "UInt32",
    "i32": "Int32", "i64": "Int64", "f32": "Float32", "f64": "Float64",
}  # fmt: skip
_ARROW: dict[str, str] = {
    "str": "string", "bool": "bool_", "u8": "uint8", "u16": "uint16", "u32": "uint32",
    "i32": "int32", "i64": "int64", "f32": "float32", "f64": "float64",
}  # fmt: skip


def _polars(dtype: DType, pl: Any) -> Any:
    if isinstance(dtype, ListOf):
        return pl.List(_polars(dtype.item, pl))
    if isinstance(dtype, StructOf):
        return pl.Struct({name: _polars(inner, pl) for name, inner in dtype.fields})
    return getattr(pl, _POLARS[dtype])()


def _arrow(dtype: DType, pa: Any) -> Any:
    if isinstance(dtype, ListOf):
        return pa.list_(_arrow(dtype.item, pa))
    if isinstance(dtype, StructOf):
        return pa.struct([(name, _arrow(inner, pa)) for name, inner in dtype.fields])
    return getattr(pa, _ARROW[dtype])()


def _feature(dtype: DType, ds: Any) -> Any:
    if isinstance(dtype, ListOf):
        return [_feature(dtype.item, ds)]
    if isinstance(dtype, StructOf):
        return {name: _feature(inner, ds) for name, inner in dtype.fields}
    return ds.Value(_ARROW[dtype].rstrip("_"))


_INSTANCE = Column("instance_id", "str", "index", key=True, doc="opaque; for the published set the dicom_id")
_TEACHER = Column("teacher", "str", "index", key=True, doc="id of teachers.py")
_GENERATION = Column("generation", "u8", "index", key=True, doc="0 for the published set")
_SUBJECT = Column("subject_id", "i32", "index", doc="MIMIC patient")
_STUDY = Column("study_id", "i32", "index", doc="MIMIC study")
_SPLIT = Column("split", "str", "index", allowed=SPLITS)
_DISEASES = Column("diseases", ListOf("str"), "derived", doc="parsed from the prompt, never recomputed")
_STRATEGY = Column("strategy", "str", "index", key=True, doc="name of the consensus strategy")
_DECODING = StructOf((("temperature", "f32"), ("top_p", "f32"), ("max_tokens", "i32"), ("seed", "i64")))
_REJECTED = ListOf(StructOf((("teacher", "str"), ("generation", "u8"), ("trajectory", "str"))))
_SPAN = (
    Column("start", "u32", "index", doc="character offset of the first character in the trajectory"),
    Column("end", "u32", "index", doc="character offset after the last character"),
)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table(
            "instances",
            (
                _INSTANCE,
                Column("unit", "str", "index", allowed=UNITS),
                _SUBJECT,
                _STUDY,
                Column("dicom_ids", ListOf("str"), "index"),
                _SPLIT,
                Column("view", "str", "index", nullable=True, doc="ViewPosition, filled by the documented fall-back"),
                _DISEASES,
                Column("n_teachers", "u8", "index", doc="teachers with at least one trajectory"),
            ),
            doc="one row per image or study that was shown to the teachers",
        ),
        Table(
            "trajectories",
            (
                _INSTANCE,
                _TEACHER,
                _GENERATION,
                _SUBJECT,
                _STUDY,
                _SPLIT,
                Column(
                    "teacher_model", "str", "index", doc="model name as the raw rows state it, else the display name"
                ),
                Column("teacher_snapshot", "str", "index", nullable=True, doc="dated model version, when known"),
                Column("decoding", _DECODING, "index", nullable=True, doc="sampling settings, when known"),
                Column("prompt", "str", "derived"),
                _DISEASES,
                Column("trajectory", "str", "derived", doc="the teacher's whole answer"),
                Column(
                    "refusal", "bool", "derived", nullable=True, doc="no image-specific assertion in the whole text"
                ),
                Column("n_words", "u16", "index"),
                Column("n_steps", "u16", "index"),
                Column("text_sha256", "str", "index", doc="SHA-256 of the trajectory's UTF-8 bytes, hex"),
            ),
            doc="one row per teacher's answer",
        ),
        Table(
            "steps",
            (
                _INSTANCE,
                _TEACHER,
                _GENERATION,
                Column("step", "u16", "index", key=True, doc="0-based"),
                Column("section", "str", "derived", nullable=True, doc="nearest heading above the step"),
                *_SPAN,
                Column("generic", "bool", "derived", doc="definition, disclaimer or advice"),
            ),
            doc="one row per reasoning step",
        ),
        Table(
            "findings",
            (
                _INSTANCE,
                _TEACHER,
                _GENERATION,
                Column("i", "u16", "index", key=True, doc="0-based, in text order"),
                Column("step", "u16", "index", nullable=True),
                Column("concept", "str", "derived", doc="id from the lexicon"),
                Column("label", "str", "derived", nullable=True, allowed=FINDINGS),
                Column("status", "str", "derived", allowed=STATUSES),
                Column("side", "str", "derived", nullable=True, allowed=SIDES),
                Column("zone", "str", "derived", nullable=True),
                *_SPAN,
                Column("rule", "str", "index", doc="id of the rule that set the status"),
                Column("lexicon_version", "str", "index"),
            ),
            doc="one row per finding asserted in a trajectory; bilateral = two rows",
        ),
        Table(
            "consensus",
            (
                _INSTANCE,
                _STRATEGY,
                Column("trajectory", "str", "derived"),
                Column("supported_by", ListOf("str"), "derived", doc="teachers that support it"),
                Column("recipe", "str", "index", doc="settings that made it, as JSON"),
            ),
            doc="one consensus trajectory per instance and strategy",
        ),
        Table(
            "preferences",
            (
                _INSTANCE,
                _STRATEGY,
                Column("prompt", "str", "derived"),
                Column("chosen", "str", "derived"),
                Column("rejected", _REJECTED, "derived"),
                Column("weights", ListOf("f32"), "derived", nullable=True, doc="w_u of the APO loss, one per rejected"),
            ),
            doc="one positive against N negatives",
        ),
        Table(
            "provenance",
            (
                _INSTANCE,
                _TEACHER,
                _GENERATION,
                Column("source_file", "str", "derived"),
                Column("source_line", "u32", "derived", doc="1-based line or row of the source file"),
            ),
            released=False,
            doc="where each trajectory was read; beside the tables, outside every content hash, never published",
        ),
    )
}


def table(name: str) -> Table:
    """A table by name.

    Raises:
        UnknownNameError: no such table.
    """
    if name not in TABLES:
        raise UnknownNameError.of("table", name, TABLES)
    return TABLES[name]


def check_columns(have: Iterable[str], need: Iterable[str]) -> list[str]:
    """Names in `need` that `have` lacks, in the order of `need`."""
    present = set(have)
    return [n for n in need if n not in present]


@runtime_checkable
class Scannable(Protocol):
    """Anything that gives tables lazily and knows what it is: a release, a join."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The release's manifest."""

    def scan(self, table: str) -> Any:
        """A `polars.LazyFrame` of one table."""


class Extractor(Protocol):
    """Text to findings; `config_hash` identifies lexicon, rules or weights and stands in every result row."""

    name: str
    version: str
    config_hash: str

    def extract(self, text: str, *, role: str = "candidate") -> Any:
        """Findings of one text as `findings.Extraction`."""


class Similarity(Protocol):
    """How alike a candidate is to its reference."""

    name: str
    version: str
    config_hash: str

    def pairwise(self, candidates: Sequence[str], references: Sequence[str]) -> Any:
        """One float in [-1, 1] per pair; NaN where undefined."""
