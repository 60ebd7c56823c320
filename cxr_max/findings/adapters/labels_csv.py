"""Labels that another labeler wrote to a CSV: CheXpert's own output format, or CheXbert's.

CheXpert: a column `Reports` and the 14 labels; CheXbert: `Report Impression` and the 14 labels, each 1, 0, -1 or empty.
Columns are found by name, since the two order them differently. Such labels have no words, sides or zones: a finding's
span is the whole text, its concept the label's broadest one.
"""

import csv
from pathlib import Path

from cxr_max.errors import DataError, MissingFileError
from cxr_max.findings.adapters._labels import CONCEPTS, digest, extraction
from cxr_max.findings.model import Extraction, Finding, Role, Status
from cxr_max.schema import FINDINGS

TEXT_COLUMNS = {"Reports": "chexpert", "Report Impression": "chexbert"}
VALUES: dict[str, Status | None] = {
    "1": "present", "1.0": "present", "0": "absent", "0.0": "absent", "-1": "uncertain", "-1.0": "uncertain",
    "": None, "nan": None,
}  # fmt: skip


class LabelsCsv:
    """Looks a text up among labelled ones; white space is not compared.

    Attributes:
        version: which labeler's format it is, `chexpert` or `chexbert`.
        config_hash: of the file's bytes.
    """

    name = "labels_csv"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"no label file {path}")
        data = path.read_bytes()
        try:
            lines = data.decode("utf-8-sig").splitlines(keepends=True)
        except UnicodeDecodeError:
            raise DataError(f"{path.name} is not UTF-8") from None
        self.config_hash = digest(data)
        self.version, self._labels = _read(path.name, lines)

    def __len__(self) -> int:
        return len(self._labels)

    def extract(self, text: str, *, role: Role = "candidate") -> Extraction:
        """The text's labels as findings.

        Raises:
            DataError: the text is not among the labelled ones.
        """
        statuses = self._labels.get(_key(text))
        if statuses is None:
            raise DataError(
                f"a text of {len(text)} characters is not among the {len(self)} labelled ones",
                next="run the labeler on exactly the texts that are compared",
            )
        end = len(text)
        found = [Finding(CONCEPTS[n], n, s, None, None, 0, end, f"label/{self.version}") for n, s in statuses.items()]
        return extraction(text, found, role)._replace(refusal=False)


def _key(text: str) -> str:
    return " ".join(text.split())


def _read(name: str, lines: list[str]) -> tuple[str, dict[str, dict[str, Status]]]:
    reader = csv.DictReader(lines, strict=True)
    found: dict[str, dict[str, Status]] = {}
    try:
        columns = list(reader.fieldnames or ())
        text_column = next((c for c in TEXT_COLUMNS if c in columns), None)
        missing = [n for n in FINDINGS if n not in columns]
        if text_column is None or missing:
            wanted, lacking = " or ".join(TEXT_COLUMNS), ", ".join(missing) or "the text"
            raise DataError(f"{name}: needed a column {wanted} and the 14 labels; missing: {lacking}")
        for row in reader:
            statuses = {n: _value(name, reader.line_num, row[n]) for n in FINDINGS}
            known = {n: s for n, s in statuses.items() if s is not None and n in CONCEPTS}
            key = _key(row[text_column] or "")
            if found.setdefault(key, known) != known:
                raise DataError(f"{name}: the text of line {reader.line_num} stands there twice with different labels")
    except csv.Error as e:
        raise DataError(f"{name}: line {reader.line_num} is not CSV: {e}") from None
    return TEXT_COLUMNS[text_column], found


def _value(name: str, line: int, cell: str | None) -> Status | None:
    value = (cell or "").strip().lower()
    if value not in VALUES:
        raise DataError(f"{name}: line {line} holds a label other than 1, 0, -1 or empty")
    return VALUES[value]


def build(path: str | Path) -> LabelsCsv:
    """Read a label file.

    Args:
        path: CSV written by CheXpert's labeler or by CheXbert.

    Raises:
        MissingFileError: it is not there.
        DataError: not UTF-8, not CSV, columns missing, another value than 1, 0, -1 or empty, contradicting rows.
    """
    return LabelsCsv(Path(path))
