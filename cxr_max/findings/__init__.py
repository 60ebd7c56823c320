"""What a text says about a chest radiograph: text -> (concept, label, status, side, zone, span, rule), offline.

`extract` for findings, `label` for the 14 CheXpert labels, `segment` for reasoning steps, `alignment` to compare two
texts, `concepts` for the lexicon, `adapters` for other extractors behind the same interface.
"""

from typing import TYPE_CHECKING

from cxr_max.plugins import lazy

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
    "LEXICON_VERSION": "lexicon",
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

__all__ = [*_HOME]

__getattr__, __dir__ = lazy(__name__, _HOME)
