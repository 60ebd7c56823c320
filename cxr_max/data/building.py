"""Build a release from raw teacher outputs, or the next one from a release and more tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cxr_max import findings, prompts
from cxr_max.data import analyse, layout, manifest, resolve, versions, writing
from cxr_max.data.finish import drafted, finish
from cxr_max.data.folder import ReleaseFolder
from cxr_max.data.ingest import MAX_REJECTED, Ingested, Rejections, ingest
from cxr_max.data.release import Release, open_release
from cxr_max.data.shapes import Mapped, load_mapping
from cxr_max.data.sources import Source, find
from cxr_max.errors import DataError, UsageError
from cxr_max.folders import is_restricted, new_dir, output_dir, refuse_git
from cxr_max.mimic import open_root, tables
from cxr_max.progress import track
from cxr_max.schema import TABLES
from cxr_max.teachers import display_name

_MAX_TEACHERS = 255


@dataclass(frozen=True)
class BuildConfig:
    """How a release is built.

    Attributes:
        version: X.Y.Z; None gives synthetic rows `0.0.0+synthetic.<seed>`, and is refused for others.
        mapping: a mapping file, see `shapes`.
        findings: extract findings and refusals; without, the table is left out and `refusal` is null.
        repeated: several texts of a teacher for one instance are generations.
        allow_new_teachers: take teachers that are not among the known ones.
        max_rejected: share of rows that may be rejected, in [0, 1].
        mimic_roots: the user's MIMIC folders, to fill and check subject, study, split and view.
        previous: the release before this one; its version and data decide which version is allowed.
        overwrite: exchange an existing `out`; it is then the previous release, unless another is named.
        jobs: processes for segmentation and extraction.
    """

    version: str | None = None
    mapping: Path | None = None
    findings: bool = True
    repeated: bool = False
    allow_new_teachers: bool = False
    max_rejected: float = MAX_REJECTED
    mimic_roots: Sequence[Path] = ()
    previous: Path | None = None
    overwrite: bool = False
    jobs: int = 1


class Built(NamedTuple):
    """A finished build.

    Attributes:
        release: what was built.
        explanation: per raw file, what was taken for what.
        rejected: number of rejected rows by reason.
        n_rows: rows read, rejected ones included.
        notes: other things the user should know, one sentence each.
    """

    release: Release
    explanation: list[str]
    rejected: Mapping[str, int]
    n_rows: int
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        entries = self.release.manifest
        return {
            "path": str(self.release.path),
            **{k: entries[k] for k in ("version", "synthetic", "release_hash", "tables", "counts")},
            "rows_read": self.n_rows,
            "rejected": dict(self.rejected),
            "taken": self.explanation,
            "notes": self.notes,
        }


@dataclass
class _Tables:
    """Trajectories and instances in the order of a release, without what segmentation and extraction add."""

    trajectories: pl.DataFrame
    instances: pl.DataFrame
    more: dict[str, pl.DataFrame]
    notes: list[str]


def build(raw: Sequence[str | Path], out: str | Path, version: str | None = None, **options: Any) -> Built:
    """Build a release folder from raw files.

    Args:
        raw: files, folders, or `hf://datasets/ORG/NAME[@REVISION]`.
        out: a folder that does not exist yet, or is empty, or may be exchanged.
        version: see `BuildConfig`.
        options: further fields of `BuildConfig`.

    Raises:
        UsageError, UnknownNameError: wrong options, `out` taken, an unknown teacher.
        DataError, MissingFileError: raw files that cannot be used.
        CheckFailedError: too many rejected rows, or a version that hides what changed.
        RestrictedDataError: real data inside a git work tree.
    """
    config = BuildConfig(version=version, **options)
    place = Path(out).expanduser().absolute()
    _check(config, place)
    sources = find(raw)
    mapped = load_mapping(config.mapping) if config.mapping else Mapped()
    read = ingest(sources, mapped, allow_new_teachers=config.allow_new_teachers)
    if is_restricted(read.synthetic):
        refuse_git(place)
    entries = manifest.draft(_version(config, read), synthetic=read.synthetic, seed=read.seed)
    previous = _previous(config, place)
    if previous is not None and previous.synthetic != read.synthetic:
        raise DataError("one of the new rows and the previous release is synthetic, the other is not")
    tables = _tables(read, config)
    read.rejected.check(read.n_rows, config.max_rejected)
    if tables.trajectories.is_empty():
        raise DataError("no row is left", next="mend the raw files or the mapping")
    with drafted(place) as draft:
        entries |= _write(draft, tables, config, synthetic=read.synthetic)
        entries["sources"] = [s.describe() for s in sources]
        entries["counts"] |= {"rejected": dict(sorted(read.rejected.counts.items())), "rows_read": read.n_rows}
        _write_restricted(draft, tables, read.rejected, sources, synthetic=read.synthetic)
        finish(draft, entries, place, previous=previous, overwrite=config.overwrite)
    return Built(open_release(place), read.explanation, dict(read.rejected.counts), read.n_rows, tables.notes)


def _check(config: BuildConfig, place: Path) -> None:
    if config.version is not None:
        versions.parse(config.version)
    if not 0 <= config.max_rejected <= 1:
        raise UsageError(f"max_rejected is {config.max_rejected}, a share in [0, 1] is needed")
    new_dir(place, overwrite=config.overwrite)
    if config.overwrite and place.is_dir() and any(place.iterdir()) and not (place / layout.MANIFEST).is_file():
        # Only a release is ever exchanged: --overwrite on a home folder must not remove it.
        raise UsageError(f"{place} holds files but no release; --overwrite exchanges releases only")


def _version(config: BuildConfig, read: Ingested) -> str:
    if config.version is None and not read.synthetic:
        raise UsageError("a version is needed", next="--version 1.0.0")
    return config.version or versions.synthetic(read.seed)


def _previous(config: BuildConfig, place: Path) -> ReleaseFolder | None:
    if config.previous is not None:
        return open_release(config.previous)
    return open_release(place) if config.overwrite and (place / layout.MANIFEST).is_file() else None


def _tables(read: Ingested, config: BuildConfig) -> _Tables:
    frame, notes = read.frame, list[str]()
    if config.mimic_roots:
        root = open_root(*config.mimic_roots)
        views = root.metadata().select("dicom_id", "view")
        (images,) = tables.collect(root.splits().join(views, on="dicom_id", how="left"))
        frame = resolve.look_up(frame, images, read.rejected)
    frame = resolve.settle(frame, read.rejected)
    frame, pairs = resolve.split_pairs(frame)
    frame = resolve.number(frame, read.rejected, repeated=config.repeated)
    more: dict[str, pl.DataFrame] = {}
    if pairs.height:
        more["consensus"], more["preferences"] = resolve.preferences(pairs, frame, read.rejected)
    parsed = {p: prompts.parse(p) for p in frame["prompt"].unique()}
    diseases = pl.DataFrame(
        {"prompt": list(parsed), "diseases": [list(d or ()) for d in parsed.values()]},
        schema=TABLES["trajectories"].polars(("prompt", "diseases")),
    )
    frame = frame.join(diseases, on="prompt", how="left", maintain_order="left")
    if frame["teacher"].n_unique() > _MAX_TEACHERS:
        raise DataError(f"more than {_MAX_TEACHERS} teachers", next="map the field `teacher` to the model's name")
    without = sum(1 for d in parsed.values() if not d)
    if without:
        notes.append(
            f"{without:,} different prompts name no diagnoses in the paper's wording; their diseases are empty"
        )
    shown = {t: display_name(t) for t in frame["teacher"].unique()}
    frame = frame.with_columns(
        pl.col("teacher_model").fill_null(pl.col("teacher").replace_strict(shown, return_dtype=pl.String, default=None))
    )
    instances, several = _instances(frame)
    if several:
        notes.append(f"{several:,} instances have prompts with different diagnoses; the most frequent ones are kept")
    return _Tables(writing.in_order(frame, resolve.KEYS), writing.in_order(instances, ("instance_id",)), more, notes)


def _instances(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """One row per instance, and how many instances have prompts that name different diagnoses."""
    votes = frame.group_by("instance_id", "diseases").agg(n=pl.len())
    several = votes.height - votes["instance_id"].n_unique()
    diseases = votes.sort("n", "diseases", descending=[True, False]).unique("instance_id", keep="first")
    grouped = frame.group_by("instance_id").agg(
        pl.col("unit", "subject_id", "study_id", "dicom_ids", "split").first(),
        # Views may be given by some rows only; two different ones are settled by spelling, not by order.
        pl.col("view").drop_nulls().min(),
        pl.col("teacher").n_unique().cast(pl.UInt8).alias("n_teachers"),
    )
    joined = grouped.join(diseases.drop("n"), on="instance_id")
    return joined.select(TABLES["instances"].names), several


def _write(draft: Path, tables: _Tables, config: BuildConfig, *, synthetic: bool) -> dict[str, Any]:
    names = ["instances", "trajectories", "steps", *(["findings"] if config.findings else []), *tables.more]
    writer = writing.TableWriter(draft, [TABLES[n] for n in names], synthetic=synthetic)
    counts = _Counts()
    try:
        for block in _blocks(tables, config, writer):
            writer.write(block)
            counts.add(block)
        return {
            "tables": writer.close(),
            "files": writer.files,
            "counts": counts.summary(tables.instances),
            "extracted": {"findings": config.findings, "lexicon_version": findings.LEXICON_VERSION},
        }
    except BaseException:
        writer.abort()
        raise


def _blocks(tables: _Tables, config: BuildConfig, writer: writing.TableWriter) -> Iterator[dict[str, pl.DataFrame]]:
    """The tables block by block, with steps, findings and refusal filled in; moves the writer from shard to shard."""
    plan = writing.plan(tables.instances["split"])
    per_instance = tables.trajectories.group_by("instance_id", maintain_order=True).len()["len"]
    ends = [0, *per_instance.cum_sum().to_list()]

    def rows(block: writing.Block) -> pl.DataFrame:
        return tables.trajectories[ends[block.start] : ends[block.stop]]

    texts = (rows(block)["trajectory"].to_list() for block in plan)
    analysed = analyse.analyse_many(texts, extract=config.findings, jobs=config.jobs)
    shard = ("", 0, 0)
    for block, found in track(zip(plan, analysed, strict=True), "segmenting and writing", total=len(plan)):
        if shard != block[:3]:
            shard = block[:3]
            writer.shard(*shard)
        instances = tables.instances[block.start : block.stop]
        ids = instances["instance_id"].implode()
        more = {n: f.filter(pl.col("instance_id").is_in(ids)) for n, f in tables.more.items()}
        yield _block(rows(block), instances, found) | more


def _block(rows: pl.DataFrame, instances: pl.DataFrame, found: analyse.Analysed) -> dict[str, pl.DataFrame]:
    keys = rows.select(resolve.KEYS)
    trajectories = rows.with_columns(
        pl.Series("refusal", found.refusal or [None] * rows.height, pl.Boolean),
        pl.Series("n_steps", found.n_steps, pl.UInt16),
    ).select(TABLES["trajectories"].names)
    block = {"instances": instances, "trajectories": trajectories, "steps": analyse.step_frame(keys, found)}
    if found.n_findings is not None:
        block["findings"] = analyse.finding_frame(keys, found)
    return block


class _Counts:
    """Counts for the manifest, added up block by block."""

    def __init__(self) -> None:
        self.teacher: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.finding: dict[str, dict[str, int]] = {}

    def add(self, block: Mapping[str, pl.DataFrame]) -> None:
        """Add one block."""
        rows = block["trajectories"]
        _count(self.teacher, rows["teacher"])
        _count(self.refusals, rows.filter(pl.col("refusal").fill_null(False))["teacher"])
        if "findings" in block:
            for label, status, n in block["findings"].drop_nulls("label").group_by("label", "status").len().iter_rows():
                of = self.finding.setdefault(label, {})
                of[status] = of.get(status, 0) + n

    def summary(self, instances: pl.DataFrame) -> dict[str, Any]:
        """Sorted counts: trajectories and refusals per teacher, instances per split, patients, labelled findings."""
        return {
            "teacher": dict(sorted(self.teacher.items())),
            "refusal": dict(sorted(self.refusals.items())),
            "split": _tally(instances["split"]),
            "patients": instances["subject_id"].n_unique(),
            "finding": {k: dict(sorted(v.items())) for k, v in sorted(self.finding.items())},
            "disease": _tally(instances["diseases"].explode().drop_nulls()),
        }


def _tally(values: pl.Series) -> dict[str, int]:
    counts: dict[str, int] = {}
    _count(counts, values)
    return dict(sorted(counts.items()))


def _count(into: dict[str, int], values: pl.Series) -> None:
    for value, n in values.value_counts().iter_rows():
        into[value] = into.get(value, 0) + n


def _write_restricted(
    draft: Path, tables: _Tables, rejected: Rejections, sources: Sequence[Source], *, synthetic: bool
) -> None:
    folder = output_dir(draft / layout.RESTRICTED, synthetic=synthetic)
    folder.chmod(0o700)
    names = pl.Series("source_file", [s.name for s in sources], dtype=pl.String)
    rows = tables.trajectories
    provenance = rows.select(resolve.KEYS).with_columns(names.gather(rows["source"]), rows["line"].alias("source_line"))
    writer = writing.ShardWriter(draft / layout.PROVENANCE, TABLES["provenance"], synthetic=synthetic)
    writer.write(provenance)
    writer.close()
    rejected.write(draft / layout.REJECTED, sources)
