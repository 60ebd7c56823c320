"""Scores of labels against the Open-I codes, with intervals by cluster of near-equal text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks._openi_corpus import Report, clusters
from benchmarks._openi_gold import NO_FINDING, Gold
from cxr_max.findings.chexpert import DEVICES, combine
from cxr_max.findings.lexicon import concepts
from cxr_max.schema import FINDINGS

DRAWS, SEED, MIN_POSITIVES = 2000, 20240229, 20
Labels = list[frozenset[str]]


def labels_of(mentions: Sequence[Sequence[tuple[str, str]]], unc: str) -> Labels:
    """Labels that hold for each text, from (concept, status) mentions, by CheXpert's aggregation.

    Args:
        mentions: per text.
        unc: `neg` counts uncertain as not holding, `pos` as holding.
    """
    values = {"present": 1, "uncertain": -1, "absent": 0}
    known = concepts()
    result: Labels = []
    for of_text in mentions:
        found: dict[str, list[int]] = {}
        blocked = False
        for concept, status in of_text:
            label, value = known[concept].label, values[status]
            if label:
                found.setdefault(label, []).append(value)
            if concept == "heart_failure" and value:
                found.setdefault("Cardiomegaly", []).append(-1)
            blocked = blocked or (value != 0 and label != DEVICES and known[concept].blocks)
        held = {n for n, v in found.items() if combine(v) == 1 or (unc == "pos" and combine(v) == -1)}
        result.append(frozenset(held if blocked else held | {NO_FINDING}))
    return result


class Scorer:
    """Counts of true positives, false positives and misses per label and cluster; scores with bootstrap intervals.

    Args:
        reports: one half.
        truth: their codes.
    """

    def __init__(self, reports: Sequence[Report], truth: Sequence[Gold]) -> None:
        groups = clusters({r.uid: (r.findings, r.impression) for r in reports})
        of_uid = {uid: i for i, uids in enumerate(groups.values()) for uid in uids}
        self.truth = truth
        self.cluster = np.array([of_uid[r.uid] for r in reports])
        self.n_clusters = len(groups)
        rng = np.random.default_rng(SEED)
        share = np.full(self.n_clusters, 1 / self.n_clusters)
        self.weights = np.vstack([np.ones(self.n_clusters), rng.multinomial(self.n_clusters, share, DRAWS)])
        self.names = [n for n in FINDINGS if sum(n in g.labels for g in truth) >= MIN_POSITIVES]

    def counts(self, predicted: Labels) -> np.ndarray:
        """Counts [1 + draws, labels, (tp, fp, fn)]; row 0 is the sample itself."""
        cells = np.zeros((self.n_clusters, len(FINDINGS), 3))
        for i, (said, gold) in enumerate(zip(predicted, self.truth, strict=True)):
            for j, name in enumerate(FINDINGS):
                if name in said or name in gold.labels:
                    kind = 0 if name in said and name in gold.labels else 1 if name in said else 2
                    cells[self.cluster[i], j, kind] += 1
        return np.tensordot(self.weights, cells, axes=1)

    def micro(self, counts: np.ndarray) -> np.ndarray:
        """Micro F1 of the labels with enough positives, per draw."""
        return f1(counts[:, [FINDINGS.index(n) for n in self.names]].sum(axis=1))

    def macro(self, counts: np.ndarray) -> np.ndarray:
        """Macro F1 of the same labels, per draw; a label without positives in a draw is left out there."""
        scores = f1(counts[:, [FINDINGS.index(n) for n in self.names]])
        return np.nanmean(scores, axis=1) if self.names else np.full(len(counts), np.nan)

    def table(self, counts: np.ndarray) -> dict[str, Any]:
        """Per label: positives, precision, recall, F1 with interval, and whether it counts for micro and macro."""
        rows: dict[str, Any] = {}
        for j, name in enumerate(FINDINGS):
            tp, fp, fn = counts[0, j]
            rows[name] = {
                "positives": int(tp + fn), "precision": _share(tp, tp + fp), "recall": _share(tp, tp + fn),
                "f1": interval(f1(counts[:, j])), "scored": name in self.names,
            }  # fmt: skip
        return rows


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 from counts [..., (tp, fp, fn)]; NaN without any."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def interval(values: np.ndarray) -> list[float | None]:
    """[value, low, high]: the sample's own and the central 95 % of the draws; None where undefined."""
    if np.isnan(values[0]):
        return [None, None, None]
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return [round(float(v), 4) for v in (values[0], low, high)]


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def sides(predicted: Sequence[Mapping[str, frozenset[str]]], truth: Sequence[Gold]) -> dict[str, Any]:
    """Side accuracy among labels that code and prediction share and whose code names a side.

    `same`: exactly the coded sides; `opposite`: only sides that are not coded; `unnamed`: no side found.
    """
    rows: dict[str, dict[str, int]] = {}
    for said, gold in zip(predicted, truth, strict=True):
        for name, coded in gold.sides.items():
            if name in said:
                row = rows.setdefault(name, {"n": 0, "same": 0, "opposite": 0, "unnamed": 0})
                row["n"] += 1
                row["same"] += said[name] == coded
                row["opposite"] += bool(said[name]) and not said[name] & coded
                row["unnamed"] += not said[name]
    total = {key: sum(r[key] for r in rows.values()) for key in ("n", "same", "opposite", "unnamed")}
    return {name: {**r, "accuracy": _share(r["same"], r["n"])} for name, r in {**rows, "all": total}.items()}
