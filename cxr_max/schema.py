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

from cxr_max import dtypes
from cxr_max.dtypes import DType as DType
from cxr_max.dtypes import ListOf as ListOf
from cxr_max.dtypes import StructOf as StructOf
from cxr_max.errors import UnknownNameError
from cxr_max.optional import require

DataClass = Literal["index", "derived", "source"]

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
LABELERS: tuple[str, ...] = ("chexpert", "negbio", "radiologist")
REPORT_STATUSES: tuple[str, ...] = ("found", "no_usable_text", "missing", "unreadable")


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
        return pl.Schema({n: dtypes.polars(self.column(n).dtype, pl) for n in columns or self.names})

    def arrow(self, columns: Sequence[str] | None = None) -> Any:
        """The table as `pyarrow.Schema`, without any metadata; nullability as declared."""
        pa = require("pyarrow")
        chosen = [self.column(n) for n in columns or self.names]
        return pa.schema([pa.field(c.name, dtypes.arrow(c.dtype, pa), nullable=c.nullable) for c in chosen])

    def features(self, columns: Sequence[str] | None = None) -> Any:
        """The table as `datasets.Features`; a list of structs stays one (not a struct of lists)."""
        ds = require("datasets")
        return ds.Features({n: dtypes.feature(self.column(n).dtype, ds) for n in columns or self.names})


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
_SUPPORT = ListOf(StructOf((("start", "u32"), ("end", "u32"), ("teacher", "str"))))
_LABELS = tuple(
    Column(name, "i8", "source", nullable=True, doc="1 positive, 0 negated, -1 uncertain, null not mentioned")
    for name in FINDINGS
)
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
                Column("supported_by", ListOf("str"), "derived", doc="teachers that support at least one clause"),
                Column("support", _SUPPORT, "derived", doc="clauses, and for each the teachers that say all it says"),
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
        Table(
            "references",
            (
                _INSTANCE,
                _SUBJECT,
                _STUDY,
                Column("findings", "str", "source", nullable=True),
                Column("impression", "str", "source", nullable=True),
                Column("last_paragraph", "str", "source", nullable=True, doc="set where both others are missing"),
                Column("comparison", "str", "source", nullable=True),
                Column("text_to_label", "str", "source", nullable=True, doc="what the official labellers were given"),
                Column("text_section", "str", "source", nullable=True, doc="where text_to_label stands in the report"),
                Column("report_status", "str", "source", allowed=REPORT_STATUSES),
            ),
            released=False,
            doc="one row per instance: the radiologist's report of its study, sectioned by the official rules",
        ),
        Table(
            "images",
            (
                _INSTANCE,
                Column("dicom_id", "str", "index", key=True),
                Column("path", "str", "source", nullable=True, doc="absolute; null when the image is not there"),
                Column("kind", "str", "source", nullable=True, allowed=("jpg", "dicom")),
            ),
            released=False,
            doc="one row per image of an instance, in the instance's order",
        ),
        Table(
            "labels",
            (
                Column("study_id", "i32", "index", key=True),
                Column("labeler", "str", "index", key=True, allowed=LABELERS),
                *_LABELS,
            ),
            released=False,
            doc="one row per study and labeler",
        ),
        Table(
            "overlap",
            (
                _INSTANCE,
                _SUBJECT,
                Column("evaluation_sets", ListOf("str"), "source", doc="sets that hold the patient; empty for none"),
            ),
            released=False,
            doc="one row per instance: the evaluation sets its patient occurs in",
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
