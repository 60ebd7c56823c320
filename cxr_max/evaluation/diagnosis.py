"""What the diagnosis tasks share: the question of template `diagnose` on the images of one split of a release.

The model reasons, then prints diagnoses. Presence of the five MS-CXR-T findings is read off the printed line (nothing
printed = an abstention, wrong for all five); claims and sides are read from the reasoning by the grammar that wrote the
synthetic world, which no training step uses. The truth is what is in the simulated patient, never a text.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max import mimic
from cxr_max.align.templates import ANSWER, QUESTION
from cxr_max.data.release import open_release
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.evaluation import ask, metrics
from cxr_max.evaluation.sets.ms_cxr_t import FINDINGS as FIVE
from cxr_max.evaluation.types import Context, Item, Measure, Sample
from cxr_max.mimic import locate
from cxr_max.roots import MIMIC_ROOTS
from cxr_max.schema import FINDINGS
from cxr_max.synth import reading

Truth = tuple[tuple[str, str | None], ...]
"""(label, side) of everything that is there; a bilateral finding is two."""


def items(context: Context, split: str) -> list[Item]:
    """One question an image: the frontal images of a split that the teachers were shown.

    Raises:
        UsageError: no release or no truth folder was given.
        MissingFileError: no image of the split is under the roots, or the truth lacks its table of states.
        DataError: the truth is that of another world.
    """
    if context.release is None or context.truth is None:
        raise UsageError(
            "the diagnosis tasks need a release and the truth of its synthetic world",
            next="--release RELEASE --truth WORLD/truth --mimic-root WORLD/mimic",
        )
    found = frontal(context.release, mimic.open_root(*context.paths(*MIMIC_ROOTS)), split)
    there = truth_of(context.truth)
    return ask.limited([_item(row, there) for row in found.iter_rows(named=True)], context.limit)


def frontal(release: Path, root: mimic.MimicRoot, split: str) -> pl.DataFrame:
    """Frontal images of a split that the teachers were shown: instance_id, dicom_id, subject_id, study_id, path.

    Raises:
        MissingFileError: not one of them is there.
    """
    wanted = (
        open_release(release)
        .scan("instances")
        .filter(pl.col("split") == split)
        .select("instance_id", pl.col("dicom_ids").list.first().alias("dicom_id"), "subject_id", "study_id")
        .collect()
    )
    # A release knows no views; a side cannot be told from a lateral image.
    (views,) = mimic.tables.collect(root.metadata().filter(pl.col("view_class") == "frontal").select("dicom_id"))
    found = locate.images(root, wanted.join(views, on="dicom_id", how="semi").sort("instance_id"))
    if found.is_empty() or found["path"].is_null().all():
        raise MissingFileError(f"no image of split {split} is under the MIMIC-CXR roots", next="cxr-max mimic check")
    return found


def truth_of(folder: Path) -> dict[int, Truth]:
    """Study to what is there, by label and side; nothing of a study in which nothing is.

    Raises:
        MissingFileError: the folder holds no `states.parquet`.
    """
    path = folder / "states.parquet"
    if not path.is_file():
        raise MissingFileError(f"no states.parquet in {folder.name}", next="--truth WORLD/truth of cxr-max synth")
    found: defaultdict[int, set[tuple[str, str | None]]] = defaultdict(set)
    for study, label, side in pl.read_parquet(path, columns=["study_id", "label", "side"]).iter_rows():
        there = found[study]
        if label is not None and label != "No Finding":
            there.add((label, side))
    return {study: tuple(sorted(true, key=str)) for study, true in found.items()}


def _item(row: dict[str, Any], there: dict[int, Truth]) -> Item:
    images = (Path(row["path"]),) if row["path"] else ()
    sample = Sample(row["instance_id"], QUESTION, images, (), str(row["subject_id"]))
    return Item(sample, of_study(there, row["study_id"]))


def of_study(there: Mapping[int, Truth], study: int) -> Truth:
    """What is there in a study.

    Raises:
        DataError: the truth is not that of the release's world.
    """
    if study not in there:
        raise DataError(
            "the truth knows nothing of a study of the release, so it is that of another world",
            next="--truth WORLD/truth of the world that the release was built from",
        )
    return there[study]


def printed(text: str) -> frozenset[str] | None:
    """The labels of the last line of diagnoses, or None when there is none that names a label."""
    _, mark, line = text.rpartition(ANSWER)
    names = {part.strip().rstrip(".") for part in line.split("\n")[0].split(",")}
    known = frozenset(names & set(FINDINGS))
    return known if mark and known else None


def rationale(text: str) -> str:
    """The reasoning: what stands before the diagnoses, without the marks of thought."""
    before, mark, _ = text.rpartition(ANSWER)
    return (before if mark else text).replace("<think>", "").replace("</think>", "")


def measures(questions: Sequence[Item]) -> list[Measure]:
    """Balanced accuracy of each of the five, claims of the reasoning, style."""
    patients, notes = ask.patients_of(questions), ask.counts(questions)
    answers = [printed(i.text) for i in questions]
    found = []
    for finding in FIVE:
        truths = ["yes" if any(label == finding for label, _ in i.target) else "no" for i in questions]
        said = [None if a is None else "yes" if finding in a else "no" for a in answers]
        stats = metrics.get("macro_accuracy").statistics(predictions=said, references=truths, labels=ask.YES_NO)
        classes = {label: truths.count(label) for label in ask.YES_NO}
        about = {**notes, "classes": classes, "majority": max(classes.values()) / len(truths)}
        found.append(Measure("macro_accuracy", finding, stats, patients, profile="printed line", notes=about))
    read = [claims(rationale(i.text)) for i in questions]
    stats = metrics.get("claims").statistics(predictions=read, references=[i.target for i in questions])
    extractor = f"extractor {reading.NAME} v{reading.VERSION}, truth"
    found.append(Measure("claims", "all", stats, patients, profile=extractor, notes=notes))
    style = metrics.get("style").statistics(predictions=[rationale(i.text) for i in questions], references=())
    found.append(Measure("style", "all", style, patients, notes=notes))
    return found


def claims(text: str) -> frozenset[tuple[str, str | None]]:
    """(label, side) of what a text affirms by the synthetic world's grammar; "No Finding" is none."""
    found = ((c.label, c.side) for c in reading.claims(text) if c.status != "absent")
    return frozenset((label, side) for label, side in found if label not in (None, "No Finding"))
