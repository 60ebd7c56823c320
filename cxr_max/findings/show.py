"""Everything about one text as plain data, for the command line and for files."""

from pathlib import Path
from typing import Any

from cxr_max.errors import DataError, MissingFileError
from cxr_max.findings.chexpert import of_findings
from cxr_max.findings.lexicon import raw
from cxr_max.findings.model import Role
from cxr_max.findings.rules import extract
from cxr_max.schema import FINDINGS


def report(text: str, *, role: Role = "candidate") -> dict[str, Any]:
    """Findings, labels and steps of a text.

    Returns:
        `lexicon_version`, `refusal`, `labels` (name -> 1, 0, -1 or None), `findings` and `steps` (dicts of their
        fields; a finding also has the index of its `step`).

    Raises:
        UnknownNameError: the role is neither candidate nor reference.
    """
    found = extract(text, role=role)
    steps = [s._asdict() for s in found.steps]
    return {
        "lexicon_version": raw()["version"],
        "refusal": found.refusal,
        "labels": of_findings(found.findings) if text.strip() else dict.fromkeys(FINDINGS),
        "findings": [
            {**f._asdict(), "step": next(i for i, s in enumerate(found.steps) if s.start <= f.start < s.end)}
            for f in found.findings
        ],
        "steps": steps,
    }


def read_text(text: str) -> str:
    """A text itself, or the content of the UTF-8 file it names.

    Raises:
        MissingFileError: it can only be the name of a text file, and there is none.
        DataError: the file is not UTF-8.
    """
    # A long text is no path, and asking the file system about one is an error of its own.
    if len(text) >= 1000 or "\n" in text:
        return text
    path = Path(text)
    if not path.is_file():
        if path.suffix in (".txt", ".md") and not any(c.isspace() for c in text):
            raise MissingFileError(f"no file at {text}", next="give the path of a text file, the text itself, or -")
        return text
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text", next=f"iconv -t UTF-8 {path.name}") from None
