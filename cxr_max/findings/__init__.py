"""What a text says about a chest radiograph: text -> (concept, label, status, side, zone, span, rule), offline.

`extract` for findings, `label` for the 14 CheXpert labels, `segment` for reasoning steps, `alignment` to compare two
texts, `concepts` for the lexicon, `adapters` for other extractors behind the same interface.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_max.findings.chexpert import label as label
    from cxr_max.findings.entail import Alignment as Alignment
    from cxr_max.findings.entail import alignment as alignment
    from cxr_max.findings.lexicon import concepts as concepts
    from cxr_max.findings.model import Concept as Concept
    from cxr_max.findings.model import Extraction as Extraction
    from cxr_max.findings.model import Finding as Finding
    from cxr_max.findings.model import Step as Step
    from cxr_max.findings.rules import extract as extract
    from cxr_max.findings.rules import extract_many as extract_many
    from cxr_max.findings.show import read_text as read_text
    from cxr_max.findings.show import report as report
    from cxr_max.findings.steps import segment as segment

    LEXICON_VERSION: str

_HOME = {
    "Alignment": "entail",
    "Concept": "model",
    "Extraction": "model",
    "Finding": "model",
    "Step": "model",
    "alignment": "entail",
    "concepts": "lexicon",
    "extract": "rules",
    "extract_many": "rules",
    "label": "chexpert",
    "read_text": "show",
    "report": "show",
    "segment": "steps",
}

__all__ = ["LEXICON_VERSION", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "LEXICON_VERSION":
        return importlib.import_module("cxr_max.findings.lexicon").raw()["version"]
    if name in _HOME:
        return getattr(importlib.import_module(f"cxr_max.findings.{_HOME[name]}"), name)
    if name in ("adapters", "entail"):
        return importlib.import_module(f"cxr_max.findings.{name}")
    raise AttributeError(f"module 'cxr_max.findings' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "adapters", "entail"])
