"""Contradictions of the report: negation flips, laterality flips, invented findings and devices, per trajectory.

Concepts are compared, at level side, absences included. A negation flip is a concept one side affirms and the other
denies at the same or an unnamed side; a laterality flip one that both affirm on opposite sides only. Invented is a
concept affirmed that the report mentions in no status, nor a broader or narrower one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift.bits import unpack
from cxr_max.drift.encoded import DEVICES, UNCERTAIN, Encoded, Findings
from cxr_max.drift.layout import Layout, build, layout_of

Counts = NDArray[np.int64]
_CHUNK = 20_000


class Flips(NamedTuple):
    """Concepts per trajectory.

    Attributes:
        asserted: affirmed or denied.
        affirmed: affirmed, devices excepted.
        devices: devices affirmed.
        negation: negation flips.
        laterality: laterality flips.
        contradicted: either.
        invented: invented findings, devices excepted.
        invented_devices: invented devices.
        affirmed_findings: findings affirmed, uncertain ones included.
        uncertain_findings: those of them that are hedged.
    """

    asserted: Counts
    affirmed: Counts
    devices: Counts
    negation: Counts
    laterality: Counts
    contradicted: Counts
    invented: Counts
    invented_devices: Counts
    affirmed_findings: Counts
    uncertain_findings: Counts


def compute(encoded: Encoded, reference: Findings, unc: str) -> Flips:
    """Counts per trajectory against the report of its instance."""
    vocabulary = encoded.vocabulary
    layout = layout_of(vocabulary, level="side", unc="pos" if unc == "own" else unc, mode="present+absent")
    said = build(encoded.findings, encoded.n_trajectories, layout)
    report = build(reference, encoded.n_instances, layout)
    known = np.zeros((encoded.n_instances, layout.n_concepts), dtype=bool)
    known[reference.row, reference.concept] = True
    known = (known.astype(np.float32) @ _related(vocabulary.parent_K).astype(np.float32)) > 0
    device = np.array(vocabulary.label_K) == DEVICES
    parts = []
    for start in range(0, max(encoded.n_trajectories, 1), _CHUNK):
        rows = slice(start, start + _CHUNK)
        i = encoded.instance_T[rows]
        c, ec = (_planes(w[rows], layout) for w in said)
        r, er = (_planes(w[i], layout) for w in report)
        parts.append(_count(c, ec, r, er, known[i], device))
    counts: list[Counts] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    present = np.bincount(encoded.findings.row[encoded.findings.status < 2], minlength=encoded.n_trajectories)
    hedged = encoded.findings.status == UNCERTAIN
    uncertain = np.bincount(encoded.findings.row[hedged], minlength=encoded.n_trajectories)
    return Flips(*counts, *(c.astype(np.int64) for c in (present, uncertain)))


def _related(parents: tuple[int, ...]) -> NDArray[np.bool_]:
    """K x K: same concept, ancestor or descendant."""
    related = np.eye(len(parents), dtype=bool)
    for k in range(len(parents)):
        at, seen = parents[k], {k}
        while at >= 0 and at not in seen:
            related[k, at] = related[at, k] = True
            seen.add(at)
            at = parents[at]
    return related


def _planes(words: NDArray[np.uint64], layout: Layout) -> NDArray[np.bool_]:
    """rows x 2 (affirmed, denied) x concepts x 3 sides."""
    return unpack(words, layout.n_cells).reshape(len(words), 2, layout.n_concepts, 3)


def _count(
    c: NDArray[np.bool_],
    entailed_c: NDArray[np.bool_],
    r: NDArray[np.bool_],
    entailed_r: NDArray[np.bool_],
    known: NDArray[np.bool_],
    device: NDArray[np.bool_],
) -> tuple[Counts, ...]:
    negation = np.zeros(known.shape, dtype=bool)
    for mine, theirs in ((0, 1), (1, 0)):
        p = c[:, mine] & ~entailed_r[:, mine]
        q = r[:, theirs] & ~entailed_c[:, theirs]
        negation |= (p[..., 0] & q.any(axis=2)) | (p.any(axis=2) & q[..., 0]) | (p & q)[..., 1:].any(axis=2)
    one, other = c[:, 0], r[:, 0]
    sided = one[..., 1:].any(axis=2) & other[..., 1:].any(axis=2) & ~one[..., 0] & ~other[..., 0]
    laterality = sided & ~(one & other).any(axis=2)
    affirmed = one.any(axis=2)
    invented = affirmed & ~known
    groups = (
        c.any(axis=(1, 3)), affirmed & ~device, affirmed & device, negation, laterality, negation | laterality,
        invented & ~device, invented & device,
    )  # fmt: skip
    return tuple(g.sum(axis=1) for g in groups)
