"""The 14 labels of a study, as the automatic labelers and the radiologist would derive them from its report."""

from collections.abc import Iterable
from random import Random
from typing import Any

from cxr_max.schema import FINDINGS
from cxr_max.synth.reports import Report

Labels = dict[str, float | None]
"""1.0 positive, 0.0 negated, -1.0 uncertain, None not mentioned."""

DISAGREE = 0.015
"""Share of the mentioned labels on which the second labeler reads a positive as uncertain."""


def _mentions(report: Report) -> dict[str, set[str]]:
    """Statuses per label, from the text that is labelled: impression, else findings, else last paragraph."""
    order = ("impression", "findings", "last_paragraph")
    section = next((s for s in order if getattr(report, s) is not None), None)
    found: dict[str, set[str]] = {}
    for row in report.rows:
        if row[2] == section and row[4] is not None and row[4] != "No Finding":
            found.setdefault(row[4], set()).add(row[5])
    return found


def chexpert(report: Report, flag: str) -> Labels | None:
    """CheXpert's rules: a negative together with an uncertain mention is uncertain, else positive wins.

    Returns:
        None for a report without usable text, which has no row; all None for a phrase that suppresses "No Finding".
    """
    if flag == "unusable":
        return None
    labels: Labels = dict.fromkeys(FINDINGS)
    for label, seen in _mentions(report).items():
        if {"absent", "uncertain"} <= seen:
            labels[label] = -1.0
        else:
            labels[label] = 1.0 if "present" in seen else -1.0 if "uncertain" in seen else 0.0
    if flag != "all_empty":
        labels["No Finding"] = _no_finding(labels)
    return labels


def negbio(report: Report, flag: str, rng: Random) -> Labels | None:
    """NegBio's rules: a negative together with an uncertain mention is negative, and every row has a label."""
    labels = chexpert(report, "" if flag == "all_empty" else flag)
    if labels is None:
        return None
    for label, seen in _mentions(report).items():
        if {"absent", "uncertain"} <= seen and "present" not in seen:
            labels[label] = 0.0
        if labels[label] == 1.0 and rng.random() < DISAGREE:
            labels[label] = -1.0
    labels["No Finding"] = _no_finding(labels)
    if all(v is None for v in labels.values()):
        labels["No Finding"] = 1.0
    return labels


def radiologist(report: Report, flag: str) -> Labels | None:
    """A radiologist's labels of the report: any abnormality unsets "No Finding"; "no change" leaves it uncertain."""
    labels = chexpert(report, "" if flag == "all_empty" else flag)
    if labels is None:
        return None
    other = any(row[4] is None and row[5] != "absent" for row in report.rows)
    labels["No Finding"] = -1.0 if flag == "change_only" else None if other else labels["No Finding"]
    return labels


def _no_finding(labels: Labels) -> float | None:
    abnormal = (v for k, v in labels.items() if k not in ("No Finding", "Support Devices"))
    return None if any(v in (1.0, -1.0) for v in abnormal) else 1.0


def diseases(labels: Labels | None, rng: Random) -> tuple[str, ...]:
    """What the prompt names: the positive labels, of which some are left out, or "No Finding"."""
    positive = [k for k, v in (labels or {}).items() if v == 1.0 and k != "No Finding"]
    keep = [k for k in positive if rng.random() >= (0.5 if k == "Support Devices" else OMITTED)]
    return tuple(keep or positive[:1] or ["No Finding"])


OMITTED = 0.08
"""Share of positive labels that the prompt leaves out; half of the device labels, as in the one printed study."""


def wide(rows: Iterable[tuple[tuple[Any, ...], Labels]]) -> list[tuple[Any, ...]]:
    """Rows of a label table: the ids, then the 14 labels in alphabetical order."""
    return [(*ids, *(labels[f] for f in FINDINGS)) for ids, labels in rows]
