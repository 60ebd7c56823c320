"""Precision and recall in subgroups: view, split, number of diseases, the one disease of single-disease prompts.

Whether any teacher differs is tested within each group of at least 10 patients; all these tests are one family.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import families, per_teacher
from cxr_max.drift.config import MIN_PATIENTS, Config
from cxr_max.drift.encoded import Encoded, subset
from cxr_max.drift.extra import Extra
from cxr_max.drift.ratios import Ratio, Units, estimate, global_test
from cxr_max.drift.stats import finding_alignment

TOO_FEW = "not enough patients"
FAMILY = "subgroups"


def groups_of(encoded: Encoded, by: str) -> NDArray[Any]:
    """Name of the group of each instance; "" = in none."""
    if by == "view":
        return np.where(encoded.view_I == "", "unknown", encoded.view_I)
    if by == "split":
        return encoded.split_I
    if by == "n_diseases":
        return np.minimum(encoded.n_diseases_I, 5).astype(str).astype(object)
    return np.where(encoded.n_diseases_I == 1, encoded.diseases_I, "")


def compute(encoded: Encoded, config: Config) -> Extra:
    """Precision, recall and F1 of every teacher in every group, and whether teachers differ there.

    A group of fewer than 10 patients has a note instead of a value, for a teacher and for a test.
    """
    found = Extra()
    for by in config.by if encoded.has_reference_I.any() else ():
        names = groups_of(encoded, by)
        for group in sorted({str(n) for n in names} - {""}):
            found = found + _group(subset(encoded, np.asarray(names == group)), config, {"by": by, "group": group})
    return found


def _group(part: Encoded, config: Config, tag: dict[str, str]) -> Extra:
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
    return Extra(teachers=rows, tests=[_test(u, r, config, tag) for r in ratios])


def _test(u: Units, ratio: Ratio, config: Config, tag: dict[str, str]) -> dict[str, Any]:
    metric = str(ratio.name["metric"])
    found = global_test(u, ratio, config.permutations, config.seed)
    name = f"any teacher differs: {metric}, {tag['by']} {tag['group']}"
    row = families.row(FAMILY, name, found, metric=metric, **tag)
    if found.n_patients < MIN_PATIENTS:
        row.update(dict.fromkeys(("statistic", "effect", "p", "smallest_detectable"), float("nan")), note=TOO_FEW)
    return row
