"""A reproducible share of MIMIC-CXR: which studies or patients belong to it depends on their ids and a seed alone.

A unit's rank is the first 64 bits of SHA-256("SEED:ID"), so that the choice needs no state of a random generator, is
the same on every machine, and a smaller fraction is part of a larger one of the same seed. Without strata a unit is
in when its rank lies below the fraction: the choice of one unit does not depend on which others there are. With strata
every stratum gives its share of the units with the lowest ranks.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from cxr_max.data import identity
from cxr_max.data.swap import draft_file
from cxr_max.errors import DataError, MissingFileError, UnknownNameError, UsageError
from cxr_max.folders import is_restricted
from cxr_max.mimic import MimicRoot, tables
from cxr_max.schema import FINDINGS, canonical_split

UNITS = {"study": "study_id", "patient": "subject_id"}
MIN_PATIENTS = 10
"""A cell of the composition over fewer patients is not shown."""


@dataclass(frozen=True)
class SampleConfig:
    """What to draw.

    Attributes:
        fraction: in (0, 1].
        unit: study or patient.
        split: MIMIC's split in any spelling.
        seed: any whole number.
        stratify: `view`, and names of the 14 findings (CheXpert's labels), in which the shares are kept.
        exclude: files with a `subject_id` or an image path per row, or folders of them: patients left out.

    Raises:
        UsageError, UnknownNameError: a fraction, unit, split or stratum outside what is allowed.
    """

    fraction: float
    unit: str = "study"
    split: str = "train"
    seed: int = 0
    stratify: Sequence[str] = ()
    exclude: Sequence[Path] = ()

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise UsageError(f"fraction is {self.fraction}, a number in (0, 1] is needed")
        if self.unit not in UNITS:
            raise UnknownNameError.of("unit", self.unit, UNITS)
        for name in self.stratify:
            if name not in ("view", *FINDINGS):
                raise UnknownNameError.of("stratum", name, ("view", *FINDINGS))
        canonical_split(self.split)


class Sampled(NamedTuple):
    """What was drawn.

    Attributes:
        images: one row per image: dicom_id, subject_id, study_id, split, view.
        composition: rows of kind, value, and counts and shares of the full split (after exclusion) and the sample;
            null where fewer than 10 patients stand behind a cell.
        excluded: patients of the split that were left out.
    """

    images: pl.DataFrame
    composition: pl.DataFrame
    excluded: int


def draw(root: MimicRoot, config: SampleConfig) -> Sampled:
    """Choose the units and describe them beside the full split.

    Raises:
        MissingFileError: a file of `exclude` is missing.
        DataError: a file of `exclude` names no patient.
    """
    split = canonical_split(config.split)
    views = root.metadata().select("dicom_id", "view")
    (images,) = tables.collect(root.splits().filter(pl.col("split") == split).join(views, on="dicom_id", how="left"))
    images = images.select("dicom_id", "subject_id", "study_id", "split", "view").sort("dicom_id")
    if images.is_empty():
        raise DataError(f"the split table holds no image of {split}")
    left_out = set().union(*(patients(p) for p in config.exclude))
    kept = images.filter(~pl.col("subject_id").is_in(list(left_out)))
    excluded = images["subject_id"].n_unique() - kept["subject_id"].n_unique()
    labels = _positive(root) if root.has("chexpert") or any(s in FINDINGS for s in config.stratify) else None
    chosen = _choose(kept, labels, config)
    sample = kept.filter(pl.col(UNITS[config.unit]).is_in(chosen.implode()))
    return Sampled(sample, compose(kept, sample, labels, restricted=is_restricted(root.synthetic)), excluded)


def rank(seed: int, ids: pl.Series) -> pl.Series:
    """The rank of each id in [0, 1)."""
    values = [int.from_bytes(hashlib.sha256(f"{seed}:{i}".encode()).digest()[:8], "big") / 2**64 for i in ids]
    return pl.Series("rank", values, pl.Float64)


def patients(path: Path) -> set[int]:
    """Patients that a CSV or Parquet file, or those of a folder, name in `subject_id` or in image paths.

    Raises:
        MissingFileError: nothing there.
        DataError: no patient is named.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix in (".csv", ".parquet")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise MissingFileError(f"no CSV or Parquet file at {path}")
    found: set[int] = set()
    for file in files:
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema=False)
        if "subject_id" in frame.columns:
            found |= {i for v in frame["subject_id"].unique() if (i := identity.subject_id(v))}
            continue
        for name in frame.columns:
            if frame[name].dtype == pl.String:
                ids = (identity.from_path(v) for v in frame[name].drop_nulls().unique() if "/p" in v)
                found |= {i.subject_id for i in ids if i.subject_id}
    if not found:
        raise DataError(f"{path} names no patient", next="a column subject_id, or image paths, are needed")
    return found


def _positive(root: MimicRoot) -> pl.DataFrame:
    """One row per study: whether each of the 14 labels is 1."""
    (found,) = tables.collect(root.labels("chexpert"))
    return found.select("study_id", (pl.col(FINDINGS) == 1).fill_null(False))


def _choose(images: pl.DataFrame, labels: pl.DataFrame | None, config: SampleConfig) -> pl.Series:
    key = UNITS[config.unit]
    units = images.group_by(key).agg(view=pl.col("view").fill_null("?").unique().sort().str.join("+")).sort(key)
    units = units.with_columns(rank(config.seed, units[key]))
    if not config.stratify:
        return units.filter(pl.col("rank") < config.fraction)[key]
    names = [n for n in config.stratify if n != "view"]
    if names and labels is not None:
        of_unit = images.select(list(dict.fromkeys(("study_id", key)))).unique().join(labels, on="study_id", how="left")
        units = units.join(of_unit.group_by(key).agg(pl.col(names).fill_null(False).any()), on=key, how="left")
    strata = units.sort("rank").group_by(list(config.stratify)).agg(pl.col(key), n=pl.len()).sort("n", *config.stratify)
    takes = _apportion(strata["n"].to_list(), config.fraction)
    rows = [v for ids, take in zip(strata[key].to_list(), takes, strict=True) for v in ids[:take]]
    return pl.Series(key, sorted(rows), units.schema[key])


def _apportion(sizes: Sequence[int], fraction: float) -> list[int]:
    """Whole numbers near fraction x size that add up to the rounded total: largest remainders first."""
    exact = [n * fraction for n in sizes]
    takes = [math.floor(x) for x in exact]
    order = sorted(range(len(sizes)), key=lambda i: (takes[i] - exact[i], i))
    for i in order[: round(sum(exact)) - sum(takes)]:
        takes[i] += 1
    return takes


def compose(full: pl.DataFrame, sample: pl.DataFrame, labels: pl.DataFrame | None, *, restricted: bool) -> pl.DataFrame:
    """Counts and shares of the sample beside the full set; cells over too few patients are null when restricted."""
    rows: list[dict[str, Any]] = []
    sides = (full, sample)

    def add(kind: str, value: str, counts: Sequence[tuple[int, int, int]]) -> None:
        (n, whole, few), (m, part, fewer) = counts
        row: dict[str, Any] = {"kind": kind, "value": value, "full": n, "sample": m}
        row |= {"full_share": n / whole if whole else math.nan, "sample_share": m / part if part else math.nan}
        if restricted and min(few, fewer) < MIN_PATIENTS:
            row |= dict.fromkeys(("full", "sample", "full_share", "sample_share"))
        rows.append(row)

    for kind, key in (("images", "dicom_id"), ("studies", "study_id"), ("patients", "subject_id")):
        add("total", kind, [(s[key].n_unique(), s[key].n_unique(), s["subject_id"].n_unique()) for s in sides])
    for value in full["view"].unique().sort():
        parts = [s.filter(pl.col("view").eq_missing(value)) for s in sides]
        counted = zip(parts, sides, strict=True)
        add("view (images)", value or "unknown", [(p.height, s.height, p["subject_id"].n_unique()) for p, s in counted])
    if labels is not None:
        studies = [s.select("study_id", "subject_id").unique().join(labels, on="study_id") for s in sides]
        for name in FINDINGS:
            parts = [s.filter(pl.col(name)) for s in studies]
            counted = zip(parts, studies, strict=True)
            add("label (studies)", name, [(p.height, s.height, p["subject_id"].n_unique()) for p, s in counted])
    return pl.DataFrame(rows, infer_schema_length=None)


def write(sampled: Sampled, out: Path, *, overwrite: bool = False) -> Path:
    """Write the chosen images as Parquet.

    Raises:
        UsageError: the file exists, or is not named .parquet.
    """
    if out.suffix != ".parquet":
        raise UsageError(f"{out.name}: a .parquet file is written")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists", next="choose another file or pass --overwrite")
    with draft_file(out) as draft:
        sampled.images.write_parquet(draft)
    return out
