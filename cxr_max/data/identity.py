"""Which image or study a raw row speaks of: from ids, or from an image path in any known MIMIC layout.

Known layouts: `files/p10/p10000032/s50414267/<dicom_id>.jpg`, the same below any mirror (`physionet.org/files/...`),
a study folder or report (`.../p10000032/s50414267[.txt]`), and a flat or resized copy (`<dicom_id>.png`).
"""

import re
from functools import lru_cache
from typing import NamedTuple

DICOM_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}")
_SUBJECT = re.compile(r"p?(\d{1,9})")
_STUDY = re.compile(r"s?(\d{1,9})")
_IN_PATH = re.compile(r"(?:^|/)p(?P<subject>\d{3,9})/s(?P<study>\d{3,9})(?=/|\.|$)")


class Identity(NamedTuple):
    """What a row says of its image or study; None where it says nothing."""

    dicom_id: str | None
    study_id: int | None
    subject_id: int | None


NOTHING = Identity(None, None, None)


@lru_cache(maxsize=1 << 16)
def from_path(path: str) -> Identity:
    """Ids read from an image path or URL; nothing when it has no known form."""
    path = path.replace("\\", "/").split("?", 1)[0]
    parts = path.split("/")
    if ".." in parts or "\0" in path:
        return NOTHING
    stem = parts[-1].split(".", 1)[0].lower()
    dicom = stem if DICOM_ID.fullmatch(stem) else None
    matches = list(_IN_PATH.finditer(path))
    found = matches[-1] if matches else None
    study = int(found["study"]) if found else None
    if study is None and re.fullmatch(r"s\d{3,9}", stem):
        study = int(stem[1:])
    return Identity(dicom, study, int(found["subject"]) if found else None)


@lru_cache(maxsize=1 << 16)
def dicom_id(value: str) -> str | None:
    """A DICOM id in any letter case, alone or as a file name; None when it is none."""
    stem = value.strip().lower()
    return stem if DICOM_ID.fullmatch(stem) else from_path(value.strip()).dicom_id


def study_id(value: object) -> int | None:
    """A study number, given as a number, its digits, or `s` and its digits; None when it is none."""
    return _number(value, _STUDY)


def subject_id(value: object) -> int | None:
    """A patient number, given as a number, its digits, or `p` and its digits; None when it is none."""
    return _number(value, _SUBJECT)


def _number(value: object, form: re.Pattern[str]) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        # Spreadsheets and pandas turn an integer column with gaps into floats.
        value = int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value if 0 < value < 1_000_000_000 else None
    if isinstance(value, str):
        text = value.strip().lower().removesuffix(".0")
        found = form.fullmatch(text)
        return int(found[1]) or None if found else None
    return None
