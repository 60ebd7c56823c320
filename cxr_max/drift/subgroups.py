"""Precision and recall in subgroups: view, split, number of diseases, the one disease of single-disease prompts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import per_teacher
from cxr_max.drift.config import MIN_PATIENTS, Config
from cxr_max.drift.encoded import Encoded, subset
from cxr_max.drift.ratios import estimate
from cxr_max.drift.stats import finding_alignment

Rows = list[dict[str, Any]]
TOO_FEW = "not enough patients"


def groups_of(encoded: Encoded, by: str) -> NDArray[Any]:
    """Name of the group of each instance; "" = in none."""
    if by == "view":
        return np.where(encoded.view_I == "", "unknown", encoded.view_I)
    if by == "split":
        return encoded.split_I
    if by == "n_diseases":
        return np.minimum(encoded.n_diseases_I, 5).astype(str).astype(object)
    return np.where(encoded.n_diseases_I == 1, encoded.diseases_I, "")


def compute(encoded: Encoded, config: Config) -> Rows:
    """Precision, recall and F1 of every teacher in every group; a note instead of a value below 10 patients."""
    rows: Rows = []
    for by in config.by if encoded.has_reference_I.any() else ():
        names = groups_of(encoded, by)
        for group in sorted({str(n) for n in names} - {""}):
            rows += _group(subset(encoded, np.asarray(names == group)), config, {"by": by, "group": group})
    return rows


def _group(part: Encoded, config: Config, tag: dict[str, str]) -> Rows:
    u = per_teacher.units(part)
    scored = per_teacher.score(part, config)
    overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, part))
    has_T = scored.has_I[part.instance_T]
    ratios = per_teacher.overlap_ratios(u, overlap, has_T, **per_teacher.tags(config))[:2]
    derived = per_teacher.f1_of(ratios, 0)[:1]
    rows = estimate(u, ratios, derived, part.vocabulary.teachers, (config.draws, config.seed)).rows
    for row in rows:
        row.update(tag)
        if row["n_patients"] < MIN_PATIENTS:
            row.update(
                value=float("nan"), low=float("nan"), high=float("nan"), standard_error=float("nan"), note=TOO_FEW
            )
    return rows
