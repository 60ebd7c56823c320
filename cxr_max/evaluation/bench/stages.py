"""From a row to a training stage: the recipe's own stage with what the row says in its place."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cxr_max import mimic
from cxr_max.align import TrainConfig
from cxr_max.align.consensus import ConsensusConfig, asks
from cxr_max.align.consensus import run as make_consensus
from cxr_max.align.negatives import Choice
from cxr_max.data import versions
from cxr_max.data.release import open_release
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.evaluation import diagnosis, metrics
from cxr_max.evaluation.bench import planning
from cxr_max.evaluation.bench.config import BenchConfig, Setting, given
from cxr_max.evaluation.bench.planning import Job
from cxr_max.evaluation.comparing import OVERLAP_UNKNOWN
from cxr_max.evaluation.grading import Scored
from cxr_max.evaluation.metrics.claims import Claim
from cxr_max.evaluation.rows import Row
from cxr_max.evaluation.teacher_drift import RULES, claims, reports_of
from cxr_max.roots import MIMIC_ROOTS

Truths = Callable[[str, int], Collection[Claim] | None]
"""From ids of instance and study to what is there; None when nothing is known."""
SAME_EXTRACTOR = "same-extractor"
ONE_CHECKPOINT = "one checkpoint"


class Place(NamedTuple):
    """Where a stage reads and writes: release, its folder, and the checkpoint it starts from."""

    release: Path
    out: Path
    start: Path | None


def built(config: BenchConfig, seed: int, out: Path) -> TrainConfig:
    """The recipe's first stage: supervised training of a fresh student."""
    places = tuple(f"{r.name}={r.path}" for r in config.roots)
    options = {**given(config.recipe, config.design, config.options), **config.design.options}
    stages = config.recipe.build(release=config.release, out=out, roots=places, seed=seed, **options)
    first = stages[0]
    if not isinstance(first, TrainConfig):
        raise UsageError(f"the first stage of recipe {config.recipe.NAME} trains nothing")
    return first


def pretrained(config: BenchConfig) -> bool:
    """Whether the recipe's student has weights before training."""
    return built(config, 0, config.out).model.pretrained is not None


def lacking(config: BenchConfig, row: Row) -> str:
    """What a row needs and the recipe's student has not; empty when nothing."""
    if ("pretrained" in row.needs or (row.trained and row.start == "pretrained")) and not pretrained(config):
        return "needs pretrained weights, and the recipe's student starts from random ones"
    if "reader" in row.needs and not config.design.reader:
        return "needs a student that can read all trajectories and write one, and the recipe's cannot"
    return ""


def pretrained_folder(config: BenchConfig) -> Path:
    """Folder or name of the recipe's pretrained student.

    Raises:
        UsageError: it starts from random weights.
    """
    name = built(config, 0, config.out).model.pretrained
    if name is None:
        raise UsageError(f"the student of recipe {config.recipe.NAME} has no pretrained weights")
    return Path(name)


def stage_of(config: BenchConfig, job: Job, setting: Setting, place: Place, *, trial: bool = False) -> TrainConfig:
    """The stage of a row.

    Args:
        config: the benchmark.
        job: row, seed and fraction.
        setting: learning rate and beta.
        place: where it reads and writes.
        trial: at the length of a trial.
    """
    row = job.row
    base = built(config, job.seed, place.out)
    optimizer = replace(base.optimizer, learning_rate=setting.learning_rate)
    return base.with_(
        release=place.release,
        out=place.out,
        start=place.start,
        model=base.model
        if place.start is None
        else replace(base.model, scratch=None, min_pixels=None, max_pixels=None),
        method=row.method,
        hyper={**setting.hyper, **row.hyper},
        optimizer=optimizer,
        positives=row.consensus if row.positives == "consensus" else "teachers",
        teachers=teachers_of(config, row),
        negatives=Choice(kind=row.negatives, weights=row.weights, seed=job.seed),
        fraction=job.fraction,
        # The recipe's limit is of all training patients; a part of them has that part of it.
        limit=None if base.limit is None else max(1, round(base.limit * job.fraction)),
        epochs=planning.epochs(config.design, row, trial=trial),
        max_steps=None,
        seed=job.seed,
        recipe=config.recipe.NAME,
    )


def teachers_of(config: BenchConfig, row: Row) -> tuple[str, ...]:
    """The teachers a row trains on; empty = all."""
    if row.teachers == "best":
        return (best_teacher(config),)
    if isinstance(row.teachers, tuple):
        return row.teachers
    return config.teachers


def best_teacher(config: BenchConfig) -> str:
    """The teacher whose claims on validate agree best with the truth, by F1 of claims; ties by name.

    The truth is the simulated patient where a truth folder is given, else the radiologist's report as our rules read
    it.

    Raises:
        UsageError: neither a truth folder nor a MIMIC-CXR root. DataError: the release has nothing on validate.
    """
    scores = teacher_scores(config)
    return min(scores, key=lambda t: (-scores[t], t))


def teacher_scores(config: BenchConfig) -> dict[str, float]:
    """F1 of each teacher's claims on validate against the truth; errors as `best_teacher`."""
    release = open_release(config.release)
    true_of, read = (
        (_by_report(config), claims) if config.truth is None else (_by_truth(config.truth), diagnosis.claims)
    )
    rows = release.scan("trajectories").filter(pl.col("split") == "validate")
    said: defaultdict[str, list[Collection[Claim]]] = defaultdict(list)
    true: defaultdict[str, list[Collection[Claim]]] = defaultdict(list)
    wanted = rows.select("teacher", "instance_id", "study_id", "trajectory").collect()
    for teacher, instance, study, text in wanted.iter_rows():
        there = true_of(instance, study)
        if there is not None and (not config.teachers or teacher in config.teachers):
            said[teacher].append(read(text))
            true[teacher].append(there)
    if not said:
        raise DataError("the release has no trajectories on validate, so no teacher can be chosen")
    scores = {}
    for teacher in said:
        found_ = metrics.get("claims")(predictions=said[teacher], references=true[teacher])
        p, r = found_["precision"], found_["recall"]
        scores[teacher] = 2 * p * r / (p + r) if p + r > 0 else 0.0
    return scores


def _by_truth(folder: Path) -> Truths:
    there = diagnosis.truth_of(folder)
    return lambda _instance, study: diagnosis.of_study(there, study)


def _by_report(config: BenchConfig) -> Truths:
    places = [r.path for r in config.roots if r.name in MIMIC_ROOTS]
    if not places:
        raise UsageError(
            "a teacher is chosen by the reports of validate, or by the truth of a synthetic world",
            next="--mimic-root PATH, or --truth WORLD/truth",
        )
    reports = reports_of(mimic.join(open_release(config.release), mimic.open_root(*places)))

    def there(instance: str, _study: int) -> Collection[Claim] | None:
        report = reports.get(instance, "")
        return claims(report, role="reference") if report.strip() else None

    return there


def consensus_release(config: BenchConfig, strategy: str, student: Path) -> Path:
    """The release with the consensus of a strategy.

    Made once for all rows and seeds, or, where the student writes it, once for each sft checkpoint.

    Args:
        config: the benchmark.
        strategy: name of the strategy.
        student: the sft checkpoint, for strategies that ask one.
    """
    folder = consensus_folder(config, strategy, student)
    if not (folder / "manifest.json").is_file():
        written = {
            "model": str(student), "mimic_roots": tuple(r.path for r in config.roots if r.name in MIMIC_ROOTS),
            "hyper": dict(config.design.consensus),
        } if asks(strategy) else {}  # fmt: skip
        version = versions.next_minor(open_release(config.release).version)
        make_consensus(
            ConsensusConfig(
                config.release, strategy, folder, version, teachers=config.teachers, split="train", **written
            )
        )
    if not (folder / "manifest.json").is_file():
        raise MissingFileError(f"the consensus {strategy} left no release")
    return folder


def consensus_folder(config: BenchConfig, strategy: str, student: Path) -> Path:
    """Where the release with a consensus lies; one that the student writes has its run in the name."""
    name = f"{strategy}-{student.parents[1].name}" if asks(strategy) else strategy
    return config.out / "consensus" / "-".join((name, *config.teachers))


def marks(row: Row, scored: Sequence[Scored]) -> tuple[str, ...]:
    """What a reader of the row's numbers must know.

    `same-extractor`: its consensus was made by the extractor its reasoning is graded by. `one checkpoint`: it is not
    trained here, so every seed asks the same weights. `overlap not established`: it may have trained on patients of the
    test split.
    """
    extractors = " ".join({m.profile for s in scored for m in s.measures})
    graded_by_rules = f"extractor {RULES}" in extractors or any(
        m.metric == "finding_pr" for s in scored for m in s.measures
    )
    unknown = any(s.row["subset"] == OVERLAP_UNKNOWN for s in scored)
    said = {
        SAME_EXTRACTOR: bool(row.consensus) and graded_by_rules,
        ONE_CHECKPOINT: not row.trained,
        "overlap not established": unknown,
    }
    return tuple(mark for mark, holds in said.items() if holds)
