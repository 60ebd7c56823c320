"""The 14 CheXpert labels of a text, by that labeler's aggregation rules (stanfordmlgroup/chexpert-labeler, MIT)."""

from collections.abc import Iterable, Mapping

from cxr_max.findings.lexicon import concepts
from cxr_max.findings.model import Finding, Role
from cxr_max.findings.rules import extract
from cxr_max.schema import FINDINGS

VALUES: Mapping[str, int] = {"present": 1, "uncertain": -1, "absent": 0}
NO_FINDING, DEVICES = "No Finding", "Support Devices"


def combine(values: Iterable[int]) -> int | None:
    """One label's value out of those of its mentions: 1, 0, -1, or None without any.

    In this order: a negative beside an uncertain one gives -1 (even if a positive exists), else a positive gives 1,
    else an uncertain one -1, else 0.
    """
    found = set(values)
    if not found:
        return None
    if {0, -1} <= found:
        return -1
    return 1 if 1 in found else (-1 if -1 in found else 0)


def label(text: str, *, role: Role = "reference") -> dict[str, int | None]:
    """The 14 labels of a text: 1, 0, -1, or None (blank), by name.

    "No Finding" is 1 or None: 1 unless something other than devices is present or uncertain. Here any abnormal concept
    of the lexicon counts, also outside the 14 (hyperinflation, scoliosis, ...), as in the radiologists' reading of
    MIMIC-CXR-JPG; the labeler itself has a list of 53 such phrases. An empty text has no labels.
    """
    return of_findings(extract(text, role=role).findings) if text.strip() else dict.fromkeys(FINDINGS)


def of_findings(findings: Iterable[Finding]) -> dict[str, int | None]:
    """The 14 labels of findings already extracted from one text; see `label`."""
    values: dict[str, list[int]] = {name: [] for name in FINDINGS}
    known = concepts()
    blocked = False
    for finding in findings:
        value = VALUES[finding.status]
        if finding.label:
            values[finding.label].append(value)
        if finding.concept == "heart_failure" and value:
            values["Cardiomegaly"].append(-1)
        if value and finding.label != DEVICES:
            blocked = blocked or finding.concept not in known or known[finding.concept].blocks
    result = {name: combine(found) for name, found in values.items()}
    result[NO_FINDING] = None if blocked else 1
    return result
