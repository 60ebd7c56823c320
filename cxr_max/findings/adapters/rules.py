"""The rule extractor of this package, the default."""

from cxr_max.findings.adapters._labels import digest
from cxr_max.findings.lexicon import FILE, raw
from cxr_max.findings.model import Extraction, Role
from cxr_max.findings.rules import extract


class Rules:
    """`findings.extract` as an extractor; its configuration is the lexicon file."""

    name = "rules"

    def __init__(self) -> None:
        self.version = str(raw()["version"])
        self.config_hash = digest(FILE.read_bytes())

    def extract(self, text: str, *, role: Role = "candidate") -> Extraction:
        """Findings of a text, see `findings.extract`."""
        return extract(text, role=role)


def build() -> Rules:
    """The rule extractor; it has no options."""
    return Rules()
