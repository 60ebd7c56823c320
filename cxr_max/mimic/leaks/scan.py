"""One pass over files: every piece is compared with the root's reports, images and labels."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pydicom
from PIL import Image
from pydicom.errors import InvalidDicomError

from cxr_max.mimic.leaks import pieces
from cxr_max.mimic.leaks.formats import MAX_DEPTH, Data, kind_of, open_data
from cxr_max.mimic.leaks.originals import DICOM_ID, Originals
from cxr_max.mimic.leaks.phrases import PhraseIndex, Runs
from cxr_max.mimic.leaks.words import CHUNK, Words, read, undress, unnumber, visible
from cxr_max.mimic.tables import LABEL_ALIASES
from cxr_max.schema import FINDINGS, TABLES

TEXT, IMAGE, LABELS, DERIVED = "report text", "image", "label vectors", "derived data"
MAX_KEPT = 10_000
"""Leaks listed one by one; the rest is counted."""
_FEWEST_LABELS = 5
_STUDY = r"(?:^|/)s(\d{8})(?:/|\.|$)"
_LONG_LINE = 2_000
Locate = Callable[[bytes, Words, int], str | None]
"""From a text, its words and a run's first word to where that stands; None leaves it to the next window."""


@dataclass(frozen=True)
class Leak:
    """One place at which source (or derived) content lies.

    Attributes:
        kind: `TEXT`, `IMAGE`, `LABELS` or `DERIVED`.
        where: the file, and the way inside of it after each `!`.
        at: row and column, line, or byte; empty for the whole of it.
        words: length of the run of words; 0 for other kinds.
        patients: patients whose reports hold the run: 2 for one or two, 3 for more; 0 for other kinds.
        detail: what was recognised, without any of the content.
    """

    kind: str
    where: str
    at: str = ""
    words: int = 0
    patients: int = 0
    detail: str = ""


@dataclass
class Tally:
    """What a scan saw and found.

    Attributes:
        leaks: places found, at most `MAX_KEPT`.
        found: number of leaks of each kind, whether kept or not.
        stock: stock phrases passed over.
        words, pictures, tables: how much was compared.
        closed: (where, reason) of what could not be looked into.
    """

    leaks: list[Leak] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    stock: int = 0
    words: int = 0
    pictures: int = 0
    tables: int = 0
    closed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, leak: Leak) -> None:
        """Count a leak and keep it while there is room."""
        self.found[leak.kind] = self.found.get(leak.kind, 0) + 1
        if len(self.leaks) < MAX_KEPT:
            self.leaks.append(leak)


class Scanner:
    """A `formats.Sink` that compares what comes with the originals.

    Args:
        originals: the root; None looks for derived columns only.
        index: the phrases of its reports; None where it has no reports.
    """

    def __init__(self, originals: Originals | None, index: PhraseIndex | None) -> None:
        self.originals, self.index = originals, index
        self.tally = Tally()
        self._labels: dict[str, list[int]] = {}
        self._derived: set[str] = set()
        self._tables: set[str] = set()
        self._depth = 0

    def raw(self, where: str, data: Data) -> None:
        """Text, or bytes of no known format."""
        data = pieces.decoded(data)
        if isinstance(data, bytes) and not data:
            return
        self._embedded(where, data)
        self._rows_of_text(where, data)
        binary, lines = b"\x00" in data[:CHUNK], 0
        for window in pieces.windows(data):
            ahead = window.text.count(b"\n", 0, window.begin)
            self._texts(where, window.text, _in_window(window, None if binary else lines - ahead))
            lines += window.text.count(b"\n", window.begin, window.end)

    def batch(self, where: str, batch: Any, first: int) -> None:
        """Rows of a table."""
        if where not in self._tables:
            self._tables.add(where)
            self.tally.tables += 1
        self._derived_columns(where, batch.schema.names)
        self._label_columns(where, batch, first)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for inner, array in pieces.leaves(name, column):
                if pa.types.is_large_string(array.type):
                    self._column(where, inner, array, first)
                else:
                    self._values(where, inner, array, first)

    def picture(self, where: str, data: Data, kind: str) -> None:
        """The bytes of an image file."""
        self.tally.pictures += 1
        if self.originals is None:
            return
        if self.originals.has_image(data):
            self.tally.add(Leak(IMAGE, where, detail="the bytes of an image file of the root"))
            return
        named = {m.group() for m in DICOM_ID.finditer(where.rpartition("/")[2])} | _identifiers(data, kind)
        if any(name in self.originals.dicom_ids for name in named):
            self.tally.add(Leak(IMAGE, where, detail="an image that carries the dicom_id of one of the root"))
        notes = _notes(data, kind)
        if notes:
            self.raw(f"{where}!text", notes)

    def closed(self, where: str, reason: str) -> None:
        """Something that could not be looked into."""
        self.tally.closed.append((where, reason))

    def finish(self) -> Tally:
        """Decide on the label rows of each table, and return everything."""
        for where, (compared, equal, row) in self._labels.items():
            if equal and equal * 2 >= compared:
                detail = f"{equal} of {compared} rows equal the root's labels of the study they name"
                self.tally.add(Leak(LABELS, where, at=f"first at row {row}", detail=detail))
        self._labels.clear()
        return self.tally

    def _texts(self, where: str, text: bytes, locate: Locate) -> None:
        """Compare a text as it is, without tags and escapes, and without list numbers.

        Of several forms the one in which more is found speaks for a place.
        """
        if self.index is None:
            return
        text = visible(text)
        words = read(text)
        runs = self.index.match(words)
        self.tally.words += words.hashes.size
        self.tally.stock += runs.stock
        plain = self._leaks(where, text, words, runs, locate)
        undressed = undress(text)
        for bare in (undressed, unnumber(text if undressed is None else undressed)):
            if bare is None:
                continue
            words = read(bare)
            bared = self._leaks(where, bare, words, self.index.match(words), locate)
            if sum(leak.words for leak in bared) > sum(leak.words for leak in plain):
                plain, bared = bared, plain
            there = {leak.at for leak in plain}
            plain.extend(leak for leak in bared if leak.at not in there)
        for leak in plain:
            self.tally.add(leak)

    @staticmethod
    def _leaks(where: str, text: bytes, words: Words, runs: Runs, locate: Locate) -> list[Leak]:
        found = []
        for first, last, patients in zip(runs.first, runs.last, runs.patients, strict=True):
            at = locate(text, words, int(first))
            if at is not None:
                found.append(Leak(TEXT, where, at, int(last - first), int(patients)))
        return found

    def _column(self, where: str, name: str, array: Any, first: int) -> None:
        for start, text in pieces.joined(array):
            begin = first + start

            def locate(text: bytes, words: Words, i: int, begin: int = begin) -> str:
                return f"row {begin + int(words.rows[i])}, column {name}"

            self._texts(where, text, locate)
            if any(mark in text for mark in _PACKED):
                self._embedded(f"{where}!rows from {begin}, column {name}", text)

    def _values(self, where: str, name: str, array: Any, first: int) -> None:
        plain = []
        for row, value in enumerate(array.to_pylist(), first):
            if value and kind_of(value[:512]) != "raw":
                open_data(value, f"{where}!row {row}, column {name}", self, self._depth + 1)
                plain.append("")
            else:
                plain.append("" if value is None else value.decode("utf-8", errors="replace"))
        self._column(where, name, pa.array(plain, pa.large_string()), first)

    def _embedded(self, where: str, data: Data) -> None:
        if self._depth >= MAX_DEPTH:
            return
        self._depth += 1
        for offset, how, content in pieces.embedded(data):
            if how != "base64":
                self.picture(f"{where}!{how} at byte {offset}", content, how)
            elif kind_of(content[:512]) != "raw" or len(content) > 64:
                open_data(content, f"{where}!{how} at byte {offset}", self, self._depth)
        self._depth -= 1

    def _rows_of_text(self, where: str, data: Data) -> None:
        """CSV or JSON lines that hold label columns, or columns of a table of ours, are read as tables too."""
        head = data[: 1 << 16]
        line = head.partition(b"\n")[0].decode("utf-8", errors="replace")
        if b"\x00" in head or not self._telling(line):
            return
        try:
            if line.lstrip().startswith("{"):
                frame = pl.read_ndjson(data[:], ignore_errors=True, infer_schema_length=None)
            else:
                tab = line.count("\t") > line.count(",")
                frame = pl.read_csv(data[:], separator="\t" if tab else ",", infer_schema_length=0, ignore_errors=True)
        except (pl.exceptions.PolarsError, ValueError):
            return
        self.tally.tables += 1
        self._derived_columns(where, frame.columns)
        table = frame.to_arrow()
        first = 1
        for batch in table.to_batches():
            self._label_columns(where, batch, first)
            first += batch.num_rows

    def _telling(self, line: str) -> bool:
        names = re.findall(r"[A-Za-z_][A-Za-z_ ]*", line)
        return len({_plain(n) for n in names} & set(_LABEL_NAMES)) >= _FEWEST_LABELS or derived_table(names) is not None

    def _derived_columns(self, where: str, names: list[str]) -> None:
        table = derived_table(names)
        if table and where not in self._derived:
            self._derived.add(where)
            self.tally.add(Leak(DERIVED, where, detail=f"columns of {table}"))

    def _label_columns(self, where: str, batch: Any, first: int) -> None:
        if self.originals is None:
            return
        named = {_LABEL_NAMES[_plain(n)]: n for n in batch.schema.names if _plain(n) in _LABEL_NAMES}
        vectors = [f.name for f in batch.schema if _is_vector(f.type)]
        if len(named) < _FEWEST_LABELS and not vectors:
            return
        frame = pl.DataFrame(pa.Table.from_batches([batch]))
        ids = _study_ids(frame, self.originals)
        if ids is None:
            return
        if len(named) >= _FEWEST_LABELS:
            values = {label: _label_values(frame[column]) for label, column in named.items()}
            self._compare(where, ids, values, first)
        for vector in vectors:
            lists = frame[vector].cast(pl.List(pl.Float64))
            if lists.len() and lists.list.len().fill_null(0).eq(len(FINDINGS)).all():
                values = {label: _label_values(lists.list.get(i)) for i, label in enumerate(FINDINGS)}
                self._compare(f"{where}!column {vector}", ids, values, first)

    def _compare(self, where: str, ids: pl.Series, values: dict[str, pl.Series], first: int) -> None:
        assert self.originals is not None
        names = list(values)
        rows = pl.DataFrame({"study_id": ids, **values}).with_row_index("row")
        both = rows.join(self.originals.labels, on="study_id", suffix=" of the root")
        same = pl.all_horizontal(pl.col(n) == pl.col(f"{n} of the root") for n in names)
        said = pl.any_horizontal(pl.col(n) != 2 for n in names)
        best = both.filter(said).group_by("row").agg(same.any().alias("equal")).sort("row")
        if best.height:
            known = self._labels.setdefault(where, [0, 0, 0])
            equal = best.filter("equal")
            known[2] = known[2] or (first + equal["row"][0] if equal.height else 0)
            known[0] += best.height
            known[1] += equal.height


_PACKED = (b"base64,", b"/9j/", b"iVBORw0KGgo", b"UEsDB", b"H4sIA")


def _in_window(window: pieces.Window, lines: int | None) -> Locate:
    """Says where a run stands: the line, or the byte when there are no lines."""

    def locate(text: bytes, words: Words, first: int) -> str | None:
        start = int(words.starts[first])
        place = start if window.places is None else int(window.places[min(start, len(window.places) - 1)])
        # What begins in a part shared with a neighbour is found whole there.
        if not window.begin <= place < window.end:
            return None
        return f"byte {window.offset + place}" if lines is None else _line(text, start, lines)

    return locate


def _line(text: bytes, start: int, before: int) -> str:
    number = before + text.count(b"\n", 0, start) + 1
    column = start - text.rfind(b"\n", 0, start)
    return f"line {number}" if column < _LONG_LINE else f"line {number}, about character {column // 1000 * 1000}"


def _is_vector(kind: Any) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists) and bool(types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


_LABEL_NAMES = {_plain(name): name for name in FINDINGS}
_LABEL_NAMES |= {_plain(alias): name for alias, name in LABEL_ALIASES.items()}
_RAW = ({"image", "prompt", "response"}, {"messages", "images"}, {"prompt", "chosen", "rejected"})


def derived_table(names: list[str]) -> str | None:
    """Which table of derived data has these columns, by the schema; None when none does."""
    have = {n.strip() for n in names}
    fitting = [
        table
        for table in TABLES.values()
        if table.released and set(table.keys) <= have and have & set(table.of_class("derived"))
    ]
    if fitting:
        return f"the table {max(fitting, key=lambda table: len(have & set(table.names))).name}"
    if any(raw <= have for raw in _RAW):
        return "raw teacher outputs or an export of them"
    return None


def _label_values(series: pl.Series) -> pl.Series:
    """Labels as Int8 with 2 for empty; anything but 1, 0, -1 and empty becomes 3, which equals nothing."""
    value: Any = pl.col("value")
    if series.dtype == pl.String:
        value = value.str.strip_chars().str.to_lowercase()
        value = pl.when(value.is_in(["", "nan", "none", "null"])).then(None).otherwise(value)
    number = value.cast(pl.Float64, strict=False)
    kept = pl.when(number.is_in([1.0, 0.0, -1.0])).then(number).otherwise(3)
    found = pl.when(value.is_null() | number.is_nan()).then(2).otherwise(kept).cast(pl.Int8)
    return series.to_frame("value").select(found).to_series()


def _study_ids(frame: pl.DataFrame, originals: Originals) -> pl.Series | None:
    """The study of each row, from a study_id, else from a dicom_id, an instance_id or a path."""
    by_name = {_plain(c): c for c in frame.columns}
    for name in ("studyid", "study"):
        if name in by_name:
            text = frame[by_name[name]].cast(pl.String).str.extract(r"(\d{8})")
            return text.cast(pl.Int64, strict=False)
    for name in ("dicomid", "instanceid", "image", "images", "path", "id", "file", "filename"):
        if name not in by_name:
            continue
        column = frame[by_name[name]]
        if column.dtype != pl.String:
            continue
        studies = column.str.extract(_STUDY).cast(pl.Int64, strict=False)
        if studies.null_count() < studies.len():
            return studies
        dicoms = pl.DataFrame({"dicom_id": column.str.extract(r"([0-9a-f]{8}(?:-[0-9a-f]{8}){4})")})
        found = dicoms.join(originals.studies, on="dicom_id", how="left", maintain_order="left")["study_id"]
        if found.null_count() < found.len():
            return found
    return None


def _identifiers(data: Data, kind: str) -> set[str]:
    """dicom_ids in an image's own header."""
    if kind != "dicom":
        return {m.group() for m in DICOM_ID.finditer(data[: 1 << 16].decode("latin-1"))}
    try:
        header = pydicom.dcmread(io.BytesIO(data[: 1 << 22]), stop_before_pixels=True, force=True)
        return {m.group() for m in DICOM_ID.finditer(str(header.get("SOPInstanceUID", "")))}
    except (InvalidDicomError, ValueError, OSError, AttributeError, KeyError, TypeError):
        return set()


def _notes(data: Data, kind: str) -> bytes:
    """Text that an image carries beside its pixels."""
    if kind in ("jpeg", "dicom", "tiff"):
        return data[: 1 << 16]
    try:
        with Image.open(io.BytesIO(data[:])) as image:
            image.load()
            texts = [str(v) for v in image.info.values() if isinstance(v, str | bytes)]
        return "\n".join(texts).encode("utf-8", errors="replace")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return data[: 1 << 16]
