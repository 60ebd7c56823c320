"""How often a text drifts from its report, beside how often the mixture of teachers it learned from does.

Events as in the drift report (`drift.flips`): refusals per text; negation flips, laterality flips and contradictions
(either) per concept asserted; invented findings per finding affirmed and invented devices per device affirmed; findings
of the report left out per finding it affirms. Concepts at the level of side, uncertain counts as present.

For each event four scores: `X`, the text's rate; `X_mixture`, the rate expected of a text drawn at random from the
teachers' texts on the same images, which is what supervised training on all of them aims at; `X_inherited`, the first
minus the second (0: passed on in full, below: corrected, above: made worse); `X_ratio`, the first over the second.
Pooled over images: a rate is a quotient of sums.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cxr_max import findings
from cxr_max.errors import UsageError
from cxr_max.findings.entail import ancestors, cells, contradictions
from cxr_max.findings.model import Extraction

NAME, VERSION = "drift_events", "1"
ALONE = True
TYPES = ("string", "strings")
EVENTS = (
    "refusal", "contradiction", "negation_flip", "laterality_flip", "invented_finding", "invented_device", "omission",
)  # fmt: skip
FORMS = ("", "_mixture", "_inherited", "_ratio")
BETTER = {f"{e}{form}": 0 if form == "_mixture" else -1 for e in EVENTS for form in FORMS}
_DEVICES = "Support Devices"


class Reference(NamedTuple):
    """What a text is held against: the report of its image, and the teachers' texts on the same image."""

    report: str
    teachers: tuple[str, ...]


def statistics(*, predictions: Sequence[str], references: Sequence[Reference | Sequence[str]]) -> Any:
    """Rows of [events, chances] of the text for every event, then the same as means over the teachers' texts.

    Args:
        predictions: texts.
        references: one a text, as `Reference` or as a list of the report and the teachers' texts behind it.

    Raises:
        UsageError: different lengths, no samples, or an image without teachers.
    """
    if len(predictions) != len(references) or not len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each, at least one")
    held = [r if isinstance(r, Reference) else Reference("".join(r[:1]), tuple(r[1:])) for r in references]
    if any(not r.teachers for r in held):
        raise UsageError("a reference holds no teacher's text; at least one is needed to expect a rate from")
    rows = []
    for text, reference in zip(predictions, held, strict=True):
        report = findings.extract(reference.report, role="reference")
        mine = counts(findings.extract(text), report)
        theirs = np.mean([counts(findings.extract(t), report) for t in reference.teachers], axis=0)
        rows.append(np.concatenate([np.ravel(mine), np.ravel(theirs)]))
    return np.array(rows, dtype=np.float64)


def counts(candidate: Extraction, report: Extraction) -> list[tuple[int, int]]:
    """How often each event of `EVENTS` happened, and how often it could have."""
    said = cells(candidate.findings, mode="present+absent")
    affirmed = {c.concept for c in said if c.status == "present"}
    devices = {c for c in affirmed if _is_device(c)}
    known = {f.concept for f in report.findings}
    invented = {c for c in affirmed if not known & _related(c) and not any(c in ancestors(k) for k in known)}
    status, side = contradictions(candidate.findings, report.findings)
    asserted = len({c.concept for c in said})
    wanted = {c.concept for c in cells(report.findings)}
    return [
        (int(candidate.refusal), 1),
        (len(status | side), asserted),
        (len(status), asserted),
        (len(side), asserted),
        (len(invented - devices), len(affirmed - devices)),
        (len(invented & devices), len(devices)),
        (len(wanted - affirmed), len(wanted)),
    ]


@cache
def _is_device(concept: str) -> bool:
    known = findings.concepts()
    return concept in known and known[concept].label == _DEVICES


@cache
def _related(concept: str) -> frozenset[str]:
    return ancestors(concept) | {concept}


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Four scores of every event for each weighting, [D]; NaN where there was no chance of it."""
    sums = (weights_DS @ stats_SK).reshape(len(weights_DS), 2, len(EVENTS), 2)
    out: dict[str, Any] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)
        for e, event in enumerate(EVENTS):
            mine, mixture = rates[:, 0, e], rates[:, 1, e]
            ratio = np.where(mixture > 0, mine / mixture, np.nan)
            out |= dict(zip((f"{event}{form}" for form in FORMS), (mine, mixture, mine - mixture, ratio), strict=True))
    return out
