"""The matching behind a join: every instance of a release against tables, images and reports on disk."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from cxr_max.mimic import coverage, locate, overlap, reports, sums, tables
from cxr_max.mimic.layout import MimicRoot
from cxr_max.schema import FINDINGS

ID_TABLES: tuple[str, ...] = ("split", "metadata", "records")
"""Each gives the subject and study of every image; the split table is read anyway."""

INSTANCE = ("instance_id", "subject_id", "study_id", "split")


@dataclass(frozen=True)
class Options:
    """How to join.

    Attributes:
        labeler: whose labels go into the rows and into the agreement: chexpert | negbio | radiologist.
        prefer: jpg | dicom, where an image is there as both.
        verify: hash images and reports against SHA256SUMS.txt.
    """

    labeler: str = "chexpert"
    prefer: locate.Prefer = "jpg"
    verify: bool = False


@dataclass(frozen=True)
class Matched:
    """Outcome of the matching.

    Attributes:
        instances: `INSTANCE`, the columns of `coverage.STATUSES`, `evaluation_sets`, `images` (paths) and the labels.
        images: instance_id, dicom_id, path, kind.
        bad_tables: see `coverage.Coverage`.
    """

    instances: pl.DataFrame
    images: pl.DataFrame
    bad_tables: tuple[str, ...] = ()


def match(instances: pl.DataFrame, root: MimicRoot, options: Options) -> Matched:
    """Match the instances of a release.

    Args:
        instances: the release's table, at least instance_id, subject_id, study_id, dicom_ids, split, diseases.
        root: an open root.
        options: see `Options`.

    Raises:
        DataError: a table or zip cannot be read.
    """
    images = (
        instances.select(*INSTANCE, pl.col("dicom_ids").alias("dicom_id")).explode("dicom_id").drop_nulls("dicom_id")
    )
    studies = instances.select("subject_id", "study_id").unique(maintain_order=True)
    # The file system answers while the tables are read: both wait outside of Python most of the time.
    with ThreadPoolExecutor(2) as pool:
        located = pool.submit(locate.images, root, images, prefer=options.prefer)
        reported = pool.submit(reports.exist, root, studies)
        known, splits, labels = _read(images, root, options)
        images = _check_ids(located.result(), known, splits)
        studies = studies.with_columns(reported.result())
    images = images.with_columns(_usable("path"), _usable("kind"))
    rows = instances.select(*INSTANCE, "diseases").join(
        _per_instance(images), on="instance_id", how="left", maintain_order="left"
    )
    # An instance without any dicom_id has no image to be looked for.
    rows = rows.with_columns(
        pl.col("id_status", "split_status").fill_null("unlisted"),
        pl.col("image_status").fill_null("missing"),
        pl.col("images").fill_null(pl.lit([], dtype=pl.List(pl.String))),
    )
    rows = _with_reports(_with_labels(rows, labels), studies)
    rows = rows.with_columns(coverage.agreement(rows))
    bad: tuple[str, ...] = ()
    rows = rows.with_columns(pl.lit("unchecked").alias("hash_status"))
    if options.verify:
        rows, bad = _verify(rows, images, root)
    marks = overlap.patients(root, splits=splits.filter(pl.col("split") != "train") if splits is not None else None)
    rows = rows.join(marks, on="subject_id", how="left", maintain_order="left").with_columns(
        pl.col("evaluation_sets").fill_null(pl.lit([], dtype=pl.List(pl.String)))
    )
    return Matched(
        rows.select(*INSTANCE, *coverage.STATUSES, "evaluation_sets", "images", *FINDINGS),
        images.select("instance_id", "dicom_id", "path", "kind"),
        bad,
    )


def _usable(column: str) -> pl.Expr:
    return pl.when(~pl.col("id_status").is_in(["ambiguous", "contradicting"])).then(pl.col(column))


def _read(images: pl.DataFrame, root: MimicRoot, options: Options) -> tuple[pl.DataFrame | None, ...]:
    """Ids, splits and labels, as far as the release needs them, read side by side; None for a table not there."""
    dicoms, studies = images.lazy().select("dicom_id").unique(), images.lazy().select("study_id").unique()
    wanted: dict[str, pl.LazyFrame] = {}
    if root.has("split"):
        split = tables.scan(root.table_file("split"), {**tables.IDS, "split": pl.String()})
        # Rows outside train also tell whom the official evaluation splits hold.
        asked = pl.col("dicom_id").is_in(images["dicom_id"].implode())
        wanted["split"] = split.filter(asked | (pl.col("split") != "train"))
    others = [name for name in ID_TABLES[1:] if root.has(name) and (options.verify or "split" not in wanted)]
    for name in others if options.verify else others[:1]:
        ids = tables.scan(root.table_file(name), tables.IDS)
        wanted[name] = ids.join(dicoms, on="dicom_id", how="semi")
    if root.has(options.labeler):
        wanted["labels"] = root.labels(options.labeler, only=studies)
    found = dict(zip(wanted, tables.collect(*wanted.values()), strict=True))
    if "split" in found:
        found["split"] = tables.check_splits(found["split"].unique(), root.table_file("split"))
    known = [found[name].select(*tables.IDS) for name in ID_TABLES if name in found]
    return pl.concat(known).unique() if known else None, found.get("split"), found.get("labels")


def _check_ids(images: pl.DataFrame, known: pl.DataFrame | None, splits: pl.DataFrame | None) -> pl.DataFrame:
    """Add id_status and split_status to each image."""
    if known is not None and splits is not None and known.height == splits.height == known["dicom_id"].n_unique():
        return _check_plain(images, splits)
    if known is None:
        images = images.with_columns(pl.lit("unchecked").alias("id_status"))
    else:
        per_dicom = known.group_by("dicom_id").agg(
            pl.col("subject_id").first().alias("theirs"), pl.col("study_id").first().alias("their_study"), pl.len()
        )
        agree = (pl.col("theirs") == pl.col("subject_id")) & (pl.col("their_study") == pl.col("study_id"))
        images = (
            images.join(per_dicom, on="dicom_id", how="left", maintain_order="left")
            .with_columns(
                pl.when(pl.col("len").is_null())
                .then(pl.lit("unlisted"))
                .when(pl.col("len") > 1)
                .then(pl.lit("ambiguous"))
                .when(agree)
                .then(pl.lit("agree"))
                .otherwise(pl.lit("contradicting"))
                .alias("id_status")
            )
            .drop("theirs", "their_study", "len")
        )
    if splits is None:
        return images.with_columns(pl.lit("unchecked").alias("split_status"))
    theirs = splits.group_by("dicom_id").agg(pl.col("split").unique().alias("their_splits"))
    return (
        images.join(theirs, on="dicom_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("their_splits").is_null())
            .then(pl.lit("unlisted"))
            .when((pl.col("their_splits").list.len() == 1) & (pl.col("their_splits").list.first() == pl.col("split")))
            .then(pl.lit("agree"))
            .otherwise(pl.lit("differs"))
            .alias("split_status")
        )
        .drop("their_splits")
    )


def _check_plain(images: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """The same where the split table is the only one and names every image once, as it should."""
    theirs = splits.select("dicom_id", their_subject="subject_id", their_study="study_id", their_split="split")
    listed = pl.col("their_split").is_not_null()
    agree = (pl.col("their_subject") == pl.col("subject_id")) & (pl.col("their_study") == pl.col("study_id"))

    def status(same: pl.Expr, otherwise: str) -> pl.Expr:
        return pl.when(~listed).then(pl.lit("unlisted")).when(same).then(pl.lit("agree")).otherwise(pl.lit(otherwise))

    joined = images.join(theirs, on="dicom_id", how="left", maintain_order="left")
    return joined.with_columns(
        status(agree, "contradicting").alias("id_status"),
        status(pl.col("their_split") == pl.col("split"), "differs").alias("split_status"),
    ).drop("their_subject", "their_study", "their_split")


def _worst(column: str, order: tuple[str, ...]) -> pl.Expr:
    """The value of a status column that comes first in `order`, over the images of an instance."""
    rank = {value: i for i, value in enumerate(order)}
    return pl.col(column).replace_strict(rank, return_dtype=pl.Int32).min().replace_strict(dict(enumerate(order)))


def _per_instance(images: pl.DataFrame) -> pl.DataFrame:
    """One row per instance: worst status over its images, and the paths found."""
    per = images.group_by("instance_id", maintain_order=True).agg(
        _worst("id_status", ("contradicting", "ambiguous", "unlisted", "agree", "unchecked")).alias("id_status"),
        _worst("split_status", ("differs", "unlisted", "agree", "unchecked")).alias("split_status"),
        pl.col("path").drop_nulls().alias("images"),
        pl.col("path").null_count().alias("absent"),
    )
    found = pl.col("images").list.len() > 0
    return per.with_columns(
        pl.when(pl.col("id_status").is_in(["contradicting", "ambiguous"]))
        .then(pl.col("id_status"))
        .when(found & (pl.col("absent") == 0))
        .then(pl.lit("matched"))
        .when(found)
        .then(pl.lit("partial"))
        .otherwise(pl.lit("missing"))
        .alias("image_status")
    ).drop("absent")


_CLEAR = ~pl.col("id_status").is_in(["contradicting", "ambiguous"])


def _with_labels(rows: pl.DataFrame, labels: pl.DataFrame | None) -> pl.DataFrame:
    if labels is None:
        nothing = [pl.lit(None, pl.Int8).alias(name) for name in FINDINGS]
        return rows.with_columns(pl.lit("unchecked").alias("label_status"), *nothing)
    one = labels.select("study_id", *FINDINGS).with_columns(pl.lit(1).alias("n_rows"))
    if not labels["study_id"].is_unique().all():
        one = one.unique().group_by("study_id").agg(pl.col("n_rows").sum(), *(pl.col(n).first() for n in FINDINGS))
    joined = rows.join(one, on="study_id", how="left", maintain_order="left")
    status = (
        pl.when(~_CLEAR)
        .then(pl.lit("contradicting"))
        .when(pl.col("n_rows").is_null())
        .then(pl.lit("missing"))
        .when(pl.col("n_rows") > 1)
        .then(pl.lit("ambiguous"))
        .when(pl.all_horizontal(pl.col(name).is_null() for name in FINDINGS))
        .then(pl.lit("all_empty"))
        .otherwise(pl.lit("present"))
    )
    known = pl.col("label_status") == "present"
    return (
        joined.with_columns(status.alias("label_status"))
        .with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in FINDINGS)
        .drop("n_rows")
    )


def _with_reports(rows: pl.DataFrame, studies: pl.DataFrame) -> pl.DataFrame:
    """Add report_status; `studies` has subject_id, study_id and `there`."""
    joined = rows.join(studies, on=["subject_id", "study_id"], how="left", maintain_order="left")
    status = (
        pl.when(~_CLEAR)
        .then(pl.lit("contradicting"))
        .when("there")
        .then(pl.lit("present"))
        .otherwise(pl.lit("missing"))
    )
    return joined.with_columns(status.alias("report_status")).drop("there")


def _verify(rows: pl.DataFrame, images: pl.DataFrame, root: MimicRoot) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Hash images in trees, report files and tables: the worst per instance, and the tables that differ."""
    flats = tuple(f"{flat}/" for flat in root.layout.flats)
    places: dict[str, str] = {}
    owner: dict[str, list[str]] = {}
    for instance, path in images.drop_nulls("path").select("instance_id", "path").iter_rows():
        if not path.startswith(flats):
            key = "/".join(path.split("/")[-4:])
            places[key] = path
            owner.setdefault(key, []).append(instance)
    present = rows.filter(pl.col("report_status") == "present").select("subject_id", "study_id", "instance_id")
    pairs = [(subject, study) for subject, study, _ in present.iter_rows()]
    for place, (subject, study, instance) in zip(reports.locate(root, pairs), present.iter_rows(), strict=True):
        if not place.member:
            key = reports.relative(subject, study)
            places[key] = place.file
            owner.setdefault(key, []).append(instance)
    files = [*root.layout.zips, *(paths[0] for paths in root.layout.tables.values())]
    places |= {path.name: str(path) for path in files}
    outcome = sums.check(sums.read(root.layout.sums, places), places)
    worst: dict[str, str] = {}
    order = ("unreadable", "mismatch", "unlisted", "ok")
    for key, instances in owner.items():
        for instance in instances:
            worst[instance] = min(worst.get(instance, "ok"), outcome[key], key=order.index)
    bad = tuple(path.name for path in files if outcome[path.name] in ("mismatch", "unreadable"))
    status = pl.col("instance_id").replace_strict(worst, default="unchecked", return_dtype=pl.String)
    return rows.with_columns(status.alias("hash_status")), bad


def found_again(matched: Matched, root: MimicRoot, options: Options) -> bool:
    """Whether an image or report that a match did not find is on disk now."""
    rows = matched.instances
    absent = matched.images.filter(pl.col("path").is_null()).join(
        rows.filter(_CLEAR).select("instance_id", "subject_id", "study_id"), on="instance_id"
    )
    if absent.height and locate.images(root, absent.drop("path", "kind"), prefer=options.prefer)["path"].count():
        return True
    pairs = rows.filter(pl.col("report_status") == "missing").select("subject_id", "study_id").unique()
    return any(place.file for place in reports.locate(root, pairs.iter_rows()))
