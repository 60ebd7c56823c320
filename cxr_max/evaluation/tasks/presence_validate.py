"""Presence of five findings on the frontal images of a release's validate split: the questions of MS-CXR-T's presence.

Settings and checkpoints may be chosen by it; nothing is reported from it. The truth is the CheXpert labels of
MIMIC-CXR-JPG, definition `strict`: 1 present, 0 absent, everything else left out.
"""

from collections.abc import Sequence
from pathlib import Path

from cxr_max import mimic
from cxr_max.errors import UsageError
from cxr_max.evaluation import ask, diagnosis, ms_cxr_t
from cxr_max.evaluation.sets.ms_cxr_t import FINDINGS as FIVE
from cxr_max.evaluation.tasks import ms_cxr_t_presence_strict as strict
from cxr_max.evaluation.types import Context, Item, Measure, Sample
from cxr_max.mimic import tables
from cxr_max.roots import MIMIC_ROOTS

NAME, VERSION, MIMIC = "presence_validate", "1", True
QUESTIONS, PROMPT = NAME, "presence"


def load(context: Context) -> list[Item]:
    """One yes-or-no question an image and finding that the labels speak of."""
    if context.release is None:
        raise UsageError("this task needs a release", next="--release DIR (cxr-max build makes one)")
    root = mimic.open_root(*context.paths(*MIMIC_ROOTS))
    found = diagnosis.frontal(context.release, root, "validate")
    (labels,) = tables.collect(root.labels("chexpert").select("study_id", *FIVE))
    study = {r["study_id"]: r for r in labels.iter_rows(named=True)}
    items = []
    for row in found.iter_rows(named=True):
        images = (Path(row["path"]),) if row["path"] else ()
        for finding in FIVE:
            label = study.get(row["study_id"], {}).get(finding)
            truth = strict.gold(None if label is None else int(label), None)
            if truth is not None:
                name = f"{row['dicom_id']}/{finding}"
                sample = Sample(
                    name, ask.presence(finding), images, ask.YES_NO, str(row["subject_id"]), finding=finding
                )
                items.append(Item(sample, "yes" if truth else "no", finding))
    return ask.limited(items, context.limit)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """Balanced accuracy, accuracy and abstention of each finding."""
    return ms_cxr_t.by_finding(items, read, ask.YES_NO)
