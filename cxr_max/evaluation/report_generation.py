"""What the report-generation tasks share: studies of the official test split with their FINDINGS, and all measures.

A study without FINDINGS is not asked but counted. The prompt names no diagnosis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from cxr_max import mimic
from cxr_max.errors import MissingExtraError, MissingFileError
from cxr_max.evaluation import ask, metrics
from cxr_max.evaluation.metrics.style import without_markdown
from cxr_max.evaluation.types import Context, Item, Measure, Sample
from cxr_max.evaluation.vocabulary import Vocabulary
from cxr_max.evaluation.vocabulary import of as vocabulary_of
from cxr_max.mimic import locate, reports
from cxr_max.roots import MIMIC_ROOTS

TEXT_METRICS: tuple[str, ...] = ("bleu", "rouge_l", "meteor", "cider")
OPTIONS = ("vocabulary", "min_count")


def items(context: Context, *, by_study: bool, given_dx: bool = False) -> list[Item]:
    """One item an image, or one a study with its frontal images.

    Args:
        context: roots and limit.
        by_study: group images by study and keep PA and AP views only; a study without one is left out.
        given_dx: name the study's CheXpert diagnoses in the prompt.

    Raises:
        MissingFileError: a table, all reports or all images are missing.
    """
    root = mimic.open_root(*context.paths(*MIMIC_ROOTS))
    test = root.splits().filter(pl.col("split") == "test")
    (images,) = mimic.tables.collect(test.select("dicom_id", "subject_id", "study_id"))
    if by_study:
        (views,) = mimic.tables.collect(root.metadata().select("dicom_id", "view_class"))
        images = images.join(views, on="dicom_id").filter(pl.col("view_class") == "frontal")
    located = locate.images(root, images).sort("study_id", "dicom_id")
    key = "study_id" if by_study else "dicom_id"
    keys = list(dict.fromkeys([key, "subject_id", "study_id"]))
    samples = located.group_by(keys, maintain_order=True).agg("path")
    wanted = samples.select(pl.col(key).cast(pl.String).alias("instance_id"), "subject_id", "study_id")
    found = reports.references(root, wanted)
    if found["findings"].is_null().all() or located["path"].is_null().all():
        raise MissingFileError(
            "no report with FINDINGS, or no image, of the test split is under the MIMIC-CXR roots",
            next="cxr-max mimic check; both MIMIC-CXR (reports) and images are needed: --mimic-root PATH",
        )
    labels = _diagnoses(root) if given_dx else None
    return ask.limited([_item(r, labels) for r in _rows(samples, found)], context.limit)


def _diagnoses(root: mimic.MimicRoot) -> dict[int, tuple[str, ...]]:
    (labels,) = mimic.tables.collect(root.labels("chexpert"))
    rows = labels.iter_rows(named=True)
    return {row["study_id"]: ask.diagnoses(row) for row in rows}


def _rows(samples: pl.DataFrame, found: pl.DataFrame) -> list[dict[str, Any]]:
    paths = samples["path"].to_list()
    return [{**row, "paths": p} for row, p in zip(found.iter_rows(named=True), paths, strict=True)]


def _item(row: dict[str, Any], labels: dict[int, tuple[str, ...]] | None) -> Item:
    images = tuple(Path(p) for p in row["paths"] if p)
    given = () if labels is None else labels.get(row["study_id"], ())
    name = "report" if labels is None else "report_given_dx"
    prompt = ask.question(name) if labels is None else ask.question(name).format(diseases=ask.listed(given))
    sample = Sample(str(row["instance_id"]), prompt, images, (), str(row["subject_id"]), given)
    findings = row["findings"]
    return Item(sample, findings, asked=bool(findings and findings.strip()))


def settings(context: Context) -> dict[str, Vocabulary | None]:
    """The vocabulary the options name: `train`, or a file; none = no word is replaced.

    Raises:
        UsageError: a threshold that is none, or one without a vocabulary.
        MissingFileError, DataError: the file, or the reports of the train split, are not there or not of their form.
    """
    return {"vocabulary": vocabulary_of(context.options, context.paths(*MIMIC_ROOTS))}


def measures(
    questions: Sequence[Item], *, profiles: Sequence[str], vocabulary: Vocabulary | None = None
) -> list[Measure]:
    """Text metrics in each profile, labels, findings, style; METEOR is left out with a note where Java is missing.

    Args:
        questions: with answers.
        profiles: of the text metrics.
        vocabulary: the words that profile `r2gen` keeps; all when None.
    """
    asked = [i for i in questions if i.asked]
    if not asked:
        return []
    texts, truths = [i.text for i in asked], [str(i.target) for i in asked]
    plain = [without_markdown(t) for t in texts]
    notes: dict[str, Any] = {**ask.counts(asked), "missing_findings": len(questions) - len(asked)}
    patients = ask.patients_of(asked)
    found = []
    for profile in profiles:
        kept = vocabulary if profile == "r2gen" else None
        given: dict[str, Any] = {"profile": profile} | ({"vocabulary": kept.words} if kept else {})
        replaced = f", {kept}" if kept else ""
        for name in TEXT_METRICS:
            try:
                score = metrics.get(name).statistics
                stats = score(predictions=texts, references=truths, **given)
                # Without any Markdown the two are the same, and one of the programs is slow.
                same = plain == texts
                bare = stats if same else score(predictions=plain, references=truths, **given)
            except MissingExtraError as e:
                notes = {**notes, f"{name}_not_available": f"{e.problem}; {e.next}"}
                continue
            for group, values in ((profile, stats), (f"{profile}, without Markdown", bare)):
                how = group + replaced
                found.append(Measure(name, group, values, patients, profile=how, averaged=False, notes=notes))
    for name in ("f1_rules14", "finding_pr", "style"):
        stats = metrics.get(name).statistics(predictions=texts, references=truths)
        found.append(Measure(name, "all", stats, patients, notes=notes))
    return found
