"""What extractors that know only the 14 labels, or quote a text, share."""

import hashlib

from cxr_max.findings.model import Extraction, Finding, Role
from cxr_max.findings.steps import segment

CONCEPTS: dict[str, str] = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Enlarged Cardiomediastinum": "enlarged_cardiomediastinum",
    "Fracture": "fracture",
    "Lung Lesion": "lung_nodule",
    "Lung Opacity": "lung_opacity",
    "Pleural Effusion": "pleural_effusion",
    "Pleural Other": "pleural_thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Support Devices": "device",
}
"""The concept that stands for a label whose finer concept is unknown."""


def digest(*parts: bytes | str) -> str:
    """Twelve hex digits that identify a configuration."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:12]


def extraction(text: str, findings: list[Finding], role: Role) -> Extraction:
    """Findings in text order, with the text's steps; a candidate without any counts as a refusal."""
    ordered = sorted(findings, key=lambda f: (f.start, f.end, f.concept, f.side or ""))
    return Extraction(tuple(ordered), role == "candidate" and not ordered, segment(text))
