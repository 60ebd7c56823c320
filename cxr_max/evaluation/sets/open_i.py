"""Open-I / Indiana University: 18 classes by substring on the automatic MeSH terms, as torchxrayvision and CARZero do.

A known weakness of this protocol, kept to stay comparable: "granuloma" also matches "calcified granuloma".
"""

import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cxr_max.errors import DataError, MissingFileError

ROOT = "open-i"
CLASSES: tuple[str, ...] = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Edema",
    "Emphysema", "Fibrosis", "Pleural Thickening", "Hernia", "Fracture", "Opacity", "Lesion", "Calcified Granuloma",
    "Granuloma",
)  # fmt: skip
"""In CARZero's order."""
ALSO: dict[str, str] = {"Atelectasis": "atelectases", "Infiltration": "infiltrate"}
"""What is looked for beside the class's own name."""


class Report(NamedTuple):
    """One report file: its id, automatic terms and image ids."""

    uid: str
    terms: tuple[str, ...]
    images: tuple[str, ...]


def reports(places: Sequence[Path]) -> Iterator[Report]:
    """All report files, from a folder of XML or from `NLMCXR_reports.tgz`.

    Raises:
        MissingFileError: neither lies below the places.
        DataError: a file is not XML of this set.
    """
    for place in places:
        files = sorted(place.rglob("*.xml"))
        archives = sorted(place.rglob("NLMCXR_reports.tgz"))
        if files:
            yield from (_parse(f.read_bytes(), f.name) for f in files)
            return
        if archives:
            with tarfile.open(archives[0]) as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.name.endswith(".xml") else None
                    if content is not None:
                        yield _parse(content.read(), member.name)
            return
    where = ", ".join(map(str, places)) or "no folder (none is set)"
    raise MissingFileError(
        f"reports of {ROOT} (*.xml or NLMCXR_reports.tgz) were looked for in {where}",
        next=f"cxr-max roots set {ROOT} PATH",
    )


def _parse(content: bytes, name: str) -> Report:
    try:
        root = ET.fromstring(content)
    except ET.ParseError as e:
        raise DataError(f"{Path(name).name} is not XML") from e
    uid = root.find("uId")
    if uid is None:
        raise DataError(f"{Path(name).name} has no uId")
    terms = tuple((e.text or "").lower() for e in root.findall("MeSH/automatic"))
    return Report(str(uid.get("id")), terms, tuple(str(p.get("id")) for p in root.findall("parentImage")))


def labels(places: Sequence[Path]) -> pl.DataFrame:
    """One row an image: image (`<parentImage id>.png`), patient (the report), 18 classes as 1 or 0."""
    rows = []
    for report in reports(places):
        joined = "|".join(sorted(set(report.terms)))
        values = [int(c.lower() in joined or ALSO.get(c, c.lower()) in joined) for c in CLASSES]
        rows += [(f"{image}.png", report.uid, *values) for image in report.images]
    schema = {"image": pl.String, "patient": pl.String, **dict.fromkeys(CLASSES, pl.Int8)}
    return pl.DataFrame(rows, schema=schema, orient="row")
