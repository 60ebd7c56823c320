"""Report files: from trees beside the study folders, or straight from `mimic-cxr-reports.zip`.

Text is UTF-8; what is not is read as UTF-16 when marked so, else as Windows-1252, and never stops the work. Line ends
become `\\n`, as the published section rules expect.
"""

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Literal, NamedTuple, get_args

import polars as pl

from cxr_max.errors import UnknownNameError
from cxr_max.mimic import sections
from cxr_max.mimic.archive import ReportZip, open_zip
from cxr_max.mimic.layout import MimicRoot
from cxr_max.schema import table

View = Literal["findings", "impression", "both", "text_to_label", "last_paragraph", "comparison"]

MAX_BYTES = 1 << 20
"""The longest report has 3,933 bytes; a file of a mebibyte is not one."""

_CHUNK = 2_000
_FIELDS = ("findings", "impression", "last_paragraph", "comparison", "text_to_label", "text_section")


class Place(NamedTuple):
    """Where a report lies: a file, or a member of a zip (by `relative`); `file` is empty when it is nowhere."""

    file: str
    member: str = ""
    changed: int = 0


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
            text = content.removeprefix(codecs.BOM_UTF8).decode()
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


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
    names = [relative(subject, study) for subject, study in studies]
    places = [""] * len(names)
    exists = os.path.exists
    for tree in root.layout.trees:
        top = f"{tree}{os.sep}"
        places = [
            place or (path if exists(path := top + name) else "") for place, name in zip(places, names, strict=True)
        ]
    if all(places) or not root.layout.zips:
        return [Place(path) for path in places]
    archives = _zips(root)
    return [
        Place(path)
        if path
        else next((Place(z, name, changed) for z, changed, zipped in archives if name in zipped), Place(""))
        for path, name in zip(places, names, strict=True)
    ]


def exist(root: MimicRoot, studies: pl.DataFrame) -> pl.Series:
    """Whether the report of each study (subject_id, study_id) is on disk, as a column `there`; opens none of them."""
    subject = pl.col("subject_id").cast(pl.String)
    name = pl.format("p{}/p{}/s{}.txt", subject.str.slice(0, 2), subject, pl.col("study_id"))
    names: list[str] = studies.select(name.alias("name"))["name"].to_list()
    there = [False] * len(names)
    # `access` builds no record of the file, which takes a third of the time that `exists` does.
    access, f_ok = os.access, os.F_OK
    for tree in root.layout.trees:
        top = f"{tree}{os.sep}"
        there = [yes or access(top + name, f_ok) for yes, name in zip(there, names, strict=True)]
    for _, _, archive in _zips(root) if not all(there) else ():
        there = [yes or name in archive for yes, name in zip(there, names, strict=True)]
    return pl.Series("there", there, pl.Boolean)


def _zips(root: MimicRoot) -> list[tuple[str, int, ReportZip]]:
    states = [(str(path), path.stat().st_mtime_ns) for path in root.layout.zips]
    return [(path, changed, open_zip(path, changed)) for path, changed in states]


def read(place: Place) -> str | None:
    """The text of a report; None when its file cannot be read or is no report by its size."""
    try:
        if place.member:
            content = open_zip(place.file, place.changed).read(place.member, MAX_BYTES)
        else:
            content = _read_file(place.file)
    except OSError:
        return None
    return decode(content) if content is not None else None


def _read_file(path: str) -> bytes | None:
    """A whole file, None when it is too large; without the buffers of `open`, since reports are small and many."""
    # Non-blocking: a pipe of this name would wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        size = os.fstat(handle).st_size
        return os.read(handle, size + 1) if size <= MAX_BYTES else None
    finally:
        os.close(handle)


Row = tuple[str | None, ...]


def _parse(place: Place, study_id: int) -> Row:
    if not place.file:
        return (*[None] * len(_FIELDS), "missing")
    text = read(place)
    if text is None:
        return (*[None] * len(_FIELDS), "unreadable")
    report = sections.read_report(text, study_id)
    return (*report, "found" if report.text_to_label else "no_usable_text")


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
    rows = [row for chunk in _chunks(work, jobs) for row in chunk]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
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
        yield from pool.map(_parse_rows, parts)


def _parse_rows(rows: Sequence[tuple[Place, int]]) -> list[Row]:
    return [_parse(place, study) for place, study in rows]
