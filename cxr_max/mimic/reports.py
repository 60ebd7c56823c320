"""Report files: from trees beside the study folders, or straight from `mimic-cxr-reports.zip`.

Text is UTF-8; what is not is read as UTF-16 when marked so, else as Windows-1252, and never stops the work. Line ends
become `\\n`, as the published section rules expect.
"""

import codecs
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import polars as pl

from cxr_max.errors import DataError, UnknownNameError
from cxr_max.mimic import sections
from cxr_max.mimic.layout import MimicRoot
from cxr_max.schema import table

View = Literal["findings", "impression", "both", "text_to_label", "last_paragraph", "comparison"]

MAX_BYTES = 1 << 20
"""The longest report has 3,933 bytes; a file of a mebibyte is not one."""

_MEMBER = re.compile(r"(?:.*/)?p\d{2}/p(\d{8})/s(\d{8})\.txt")
_CHUNK = 2_000
_FIELDS = ("findings", "impression", "last_paragraph", "comparison", "text_to_label", "text_section")


class Place(NamedTuple):
    """Where a report lies: a file, or the member of a zip; `file` is empty when it is nowhere."""

    file: str
    member: str = ""


class Text(NamedTuple):
    """A view of a report: the text and the section it comes from (None where the report has none)."""

    text: str | None
    section: str | None


def view(report: sections.Report, name: View = "both") -> Text:
    """One view of a report with its provenance.

    Args:
        report: from `read_report`.
        name: findings | impression | both (with a blank line between) | text_to_label | last_paragraph | comparison.

    Raises:
        UnknownNameError: no such view.
    """
    if name not in get_args(View):
        raise UnknownNameError.of("view of a report", name, get_args(View))
    text: str | None = getattr(report, name)
    if name == "text_to_label":
        return Text(text, report.text_section)
    if name == "both":
        there = [n for n in ("findings", "impression") if getattr(report, n)]
        return Text(text, "+".join(there) or None)
    return Text(text, name if text else None)


def decode(content: bytes) -> str:
    """Bytes of a report to text with `\\n` line ends; any bytes are accepted."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def relative(subject_id: int, study_id: int) -> str:
    """`p10/p10000032/s50414267.txt`: where a report stands in a tree, beside its study's folder."""
    return f"p{str(subject_id)[:2]}/p{subject_id}/s{study_id}.txt"


def locate(root: MimicRoot, studies: Iterable[tuple[int, int]]) -> list[Place]:
    """Where the reports of studies lie, trees before zips, in the order given.

    Args:
        root: an open root.
        studies: (subject_id, study_id) pairs.

    Raises:
        DataError: a zip is no zip.
    """
    trees = [f"{tree}{os.sep}" for tree in root.layout.trees]
    names = [relative(subject, study) for subject, study in studies]
    found = [next((p for t in trees if os.path.exists(p := t + name)), "") for name in names]
    if all(found) or not root.layout.zips:
        return [Place(path) for path in found]
    members = [(str(path), _members(str(path), path.stat().st_mtime_ns)) for path in root.layout.zips]
    places = []
    for path, name in zip(found, names, strict=True):
        inside = next((Place(z, m[name]) for z, m in members if name in m), Place(""))
        places.append(Place(path) if path else inside)
    return places


def exist(root: MimicRoot, studies: pl.DataFrame) -> pl.Series:
    """Whether the report of each study (subject_id, study_id) is on disk, as a column `there`; opens none of them."""
    subject = pl.col("subject_id").cast(pl.String)
    name = pl.format("p{}/p{}/s{}.txt", subject.str.slice(0, 2), subject, pl.col("study_id"))
    names: list[str] = studies.select(name.alias("name"))["name"].to_list()
    there = [False] * len(names)
    exists = os.path.exists
    for tree in root.layout.trees:
        top = f"{tree}{os.sep}"
        there = [yes or exists(top + name) for yes, name in zip(there, names, strict=True)]
    for path in root.layout.zips if not all(there) else ():
        members = _members(str(path), path.stat().st_mtime_ns)
        there = [yes or name in members for yes, name in zip(there, names, strict=True)]
    return pl.Series("there", there, pl.Boolean)


@cache
def _members(path: str, mtime_ns: int) -> dict[str, str]:
    """Relative path of each report -> its name in the zip; `mtime_ns` tells a changed file."""
    found = {}
    for name in _archive(path).namelist():
        if match := _MEMBER.fullmatch(name):
            found[relative(int(match[1]), int(match[2]))] = name
    return found


@cache
def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as e:
        raise DataError(f"{Path(path).name} is not a readable zip: {type(e).__name__}", next="fetch it again") from e


def read(place: Place) -> str | None:
    """The text of a report; None when its file cannot be read or is no report by its size."""
    try:
        if place.member:
            archive = _archive(place.file)
            info = archive.getinfo(place.member)
            content = archive.read(info) if info.file_size <= MAX_BYTES else None
        else:
            with open(place.file, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, KeyError, EOFError):
        # RuntimeError: encrypted; NotImplementedError: a compression method Python lacks.
        return None
    return decode(content) if content is not None and len(content) <= MAX_BYTES else None


Row = tuple[str | None, ...]


def _parse(place: Place, study_id: int) -> Row:
    if not place.file:
        return (*[None] * len(_FIELDS), "missing")
    text = read(place)
    if text is None:
        return (*[None] * len(_FIELDS), "unreadable")
    report = sections.read_report(text, study_id)
    return (*report, "found" if report.text_to_label else "no_usable_text")


def _parse_chunk(rows: Sequence[tuple[Place, int]]) -> list[Row]:
    # A zip inherited from the parent shares its file position with every other worker.
    _archive.cache_clear()
    return _parse_rows(rows)


def references(root: MimicRoot, instances: pl.DataFrame, *, jobs: int = 1) -> pl.DataFrame:
    """The reports of instances, sectioned: the table `references` of `cxr_max.schema`.

    Args:
        root: an open root.
        instances: instance_id, subject_id, study_id.
        jobs: processes; each report is read and parsed once, however many instances share its study.
    """
    studies = instances.select("subject_id", "study_id").unique(maintain_order=True)
    pairs = list(studies.iter_rows())
    work = list(zip(locate(root, pairs), (study for _, study in pairs), strict=True))
    schema = table("references").polars((*_FIELDS, "report_status"))
    columns: list[list[str | None]] = [[] for _ in schema]
    for chunk in _chunks(work, jobs):
        for row in chunk:
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    parsed = studies.with_columns(
        pl.Series(name, column, dtype) for (name, dtype), column in zip(schema.items(), columns, strict=True)
    )
    joined = instances.join(parsed, on=["subject_id", "study_id"], how="left", maintain_order="left")
    return joined.select(table("references").names)


def _chunks(work: list[tuple[Place, int]], jobs: int) -> Iterator[list[Row]]:
    parts = [work[i : i + _CHUNK] for i in range(0, len(work), _CHUNK)]
    if jobs <= 1 or len(parts) <= 1:
        yield from map(_parse_rows, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_parse_chunk, parts)


def _parse_rows(rows: Sequence[tuple[Place, int]]) -> list[Row]:
    return [_parse(place, study) for place, study in rows]
