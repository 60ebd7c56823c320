"""What the MS-CXR-T tasks share: pairs located in the user's MIMIC-CXR copy, and three definitions of presence.

MS-CXR-T holds progression only, so presence has no gold standard in it; three definitions are named, each printed with
n, prevalence and majority accuracy, and none is called a reproduction of the paper.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from cxr_max import mimic
from cxr_max.errors import MissingFileError
from cxr_max.evaluation import ask
from cxr_max.evaluation.sets import ms_cxr_t as reader
from cxr_max.evaluation.types import Context, Item, Measure, Sample
from cxr_max.mimic import locate
from cxr_max.roots import MIMIC_ROOTS
from cxr_max.schema import FINDINGS

Gold = Callable[[int | None, str | None], int | None]
"""(CheXpert label of the study, progression) -> 1 present, 0 absent, None left out."""


def pairs(context: Context) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs with the files of both images, and the 14 CheXpert labels of all studies.

    Raises:
        MissingFileError: no MS-CXR-T table, no MIMIC-CXR root, or not one of the images is there.
    """
    rows = reader.pairs(context.paths(reader.ROOT, *MIMIC_ROOTS))
    root = mimic.open_root(*context.paths(*MIMIC_ROOTS))
    for prefix in ("", "previous_"):
        wanted = rows.select(
            pl.col(f"{prefix}dicom_id").alias("dicom_id"),
            "subject_id",
            pl.col(f"{prefix}study_id").alias("study_id"),
        )
        rows = rows.with_columns(locate.images(root, wanted)["path"].alias(f"{prefix}path"))
    if rows["path"].is_null().all():
        raise MissingFileError(
            f"none of the {rows.height} MS-CXR-T images lies under the MIMIC-CXR roots",
            next="cxr-max mimic check; then --mimic-root PATH with the images",
        )
    (labels,) = mimic.tables.collect(root.labels("chexpert").select("study_id", *FINDINGS))
    return rows, labels


def presence(context: Context, gold: Gold, *, given_dx: bool = False) -> list[Item]:
    """One yes-or-no question per current image and finding, with its truth; undefined ones left out.

    Args:
        context: roots and limit.
        gold: the definition of the truth.
        given_dx: name the study's CheXpert diagnoses in the prompt.
    """
    rows, labels = pairs(context)
    current = rows.unique("dicom_id", keep="first", maintain_order=True)
    study = {r["study_id"]: r for r in labels.iter_rows(named=True)}
    items = []
    for row in current.iter_rows(named=True):
        for finding in reader.FINDINGS:
            label = study.get(row["study_id"], {}).get(finding)
            truth = gold(None if label is None else int(label), row[finding])
            if truth is not None:
                given = ask.diagnoses(study.get(row["study_id"], {})) if given_dx else ()
                prompt = ask.presence(finding, given if given_dx else None)
                images = (Path(row["path"]),) if row["path"] else ()
                sample = Sample(
                    f"{row['dicom_id']}/{finding}", prompt, images, ask.YES_NO, str(row["subject_id"]), given, finding
                )
                items.append(Item(sample, "yes" if truth else "no", finding))
    return ask.limited(items, context.limit)


def progression(context: Context) -> list[Item]:
    """One question per pair and annotated finding: improving, stable or worsening."""
    rows, _ = pairs(context)
    items = []
    for row in rows.iter_rows(named=True):
        for finding in reader.FINDINGS:
            if row[finding] is not None:
                prompt = ask.question("progression").format(finding=finding.lower())
                files = (row["previous_path"], row["path"])
                images = tuple(Path(f) for f in files) if all(files) else ()
                name = f"{row['previous_dicom_id']}/{row['dicom_id']}/{finding}"
                sample = Sample(name, prompt, images, reader.PROGRESSIONS, str(row["subject_id"]))
                items.append(Item(sample, row[finding], finding))
    return ask.limited(items, context.limit)


def by_finding(items: Sequence[Item], read: str, labels: Sequence[str]) -> list[Measure]:
    """One measure a finding that has questions."""
    return [ask.accuracy_measure(mine, f, read, labels) for f, mine in ask.grouped(items).items()]
