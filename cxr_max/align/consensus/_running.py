"""From a release to its next minor version, with the tables `consensus` and `preferences` of one strategy."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import polars as pl

from cxr_max import __version__, drift, findings, mimic
from cxr_max.align import consensus
from cxr_max.align.consensus._options import hyper_of
from cxr_max.align.consensus._panels import Consensus, LeftOut, Work, read_panels
from cxr_max.align.negatives import Choice, Rows, Tables, preference_rows
from cxr_max.data import versions
from cxr_max.data.derive import extend
from cxr_max.data.release import Release, is_complete, open_release
from cxr_max.drift import weights as weighting
from cxr_max.endpoint import Retention
from cxr_max.errors import CheckFailedError, DataError, UnknownNameError, UsageError
from cxr_max.folders import is_restricted, new_dir, output_dir, refuse_git, sweep
from cxr_max.schema import TABLES, canonical_split
from cxr_max.teachers import find_teacher

_KEY = ["instance_id", "teacher", "generation"]


@dataclass(frozen=True)
class ConsensusConfig:
    """What is made of which release.

    Attributes:
        release: folder of the release.
        strategy: name of a consensus strategy, or the path of a Python file.
        out: folder of the new version; the same configuration again finds it finished, or goes on with it.
        version: of the new release: at least the next minor one.
        hyper: settings of the strategy by name; the rest are its defaults.
        model: for strategies that ask one: a folder, or `http://127.0.0.1:PORT/v1#SERVED_NAME`.
        retention: declaration for an endpoint outside this machine.
        mimic_roots: folders of MIMIC-CXR, for strategies that look at images.
        negatives: which trajectories the table of preferences rejects, and their weights: by default all of them, with
            the drift report's `agreement` weights (a loss that is told `weights="none"` does not read them). They
            draw with `seed`, as everything here.
        teachers: ids of those who take part; all when empty. The others neither vote nor are negatives.
        split: only instances of one split; all without.
        limit: at most so many instances, the first by id; for trying out.
        seed: of all that is drawn.
        jobs: worker processes.
        overwrite: exchange a release at `out`.
        max_failed: share of instances that may fail (no answer came) before nothing is written.
    """

    release: Path
    strategy: str
    out: Path
    version: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    retention: Retention | None = None
    mimic_roots: tuple[Path, ...] = ()
    negatives: Choice = field(default_factory=lambda: Choice(weights="drift"))
    teachers: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    jobs: int = 1
    overwrite: bool = False
    max_failed: float = 0.05


class ConsensusResult(NamedTuple):
    """What was made.

    Attributes:
        release: the new version.
        strategy: the name in its tables.
        instances: instances asked for.
        consensus: rows of the table `consensus` by this strategy.
        preferences: rows of the table `preferences` by this strategy.
        left_out: reason to number of instances without a consensus.
        dropped: reason to number of instances with a consensus and without a preference.
        negatives_dropped: reason to number of trajectories that are no negative.
        unsupported: rows none of whose clauses any teacher supports.
        cut: answers cut off at their longest length.
        resumed: `out` held the finished release already; the counts of what was left out are then empty.
    """

    release: Release
    strategy: str
    instances: int
    consensus: int
    preferences: int
    left_out: Mapping[str, int]
    dropped: Mapping[str, int]
    negatives_dropped: Mapping[str, int]
    unsupported: int
    cut: int
    resumed: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the new version."""
        return self.release.path

    def lines(self) -> list[str]:
        """What a reader needs to know, one line each."""
        release = self.release
        out = [f"consensus by {self.strategy}: {self.consensus:,} of {self.instances:,} instances"]
        out += ["it was there already"] if self.resumed else []
        out += [f"  {n:>8,}  left out: {reason}" for reason, n in self.left_out.items()]
        out += [f"  {self.cut:>8,}  answers were cut off at their longest length"] if self.cut else []
        out += [f"  {self.unsupported:>8,}  say nothing that a teacher supports"] if self.unsupported else []
        out += [f"preferences: {self.preferences:,}"]
        out += [f"  {n:>8,}  without a preference: {reason}" for reason, n in self.dropped.items()]
        out += [f"  {n:>8,}  trajectories are no negative: {reason}" for reason, n in self.negatives_dropped.items()]
        return [*out, f"cxr-max {release.version} ({release.manifest['release_hash'][:12]}) at {release.path}"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in self._asdict().items()}
        return plain | {"release": str(self.folder), "version": self.release.version}


def run(config: ConsensusConfig) -> ConsensusResult:
    """Make the consensus of every instance and write the next version of the release.

    Raises:
        UsageError: an unknown setting, no model where one is needed, no MIMIC root where images are, or `out` is taken.
        UnknownNameError: no such strategy, split, teacher, or kind of negatives.
        CheckFailedError: the version does not say what changes, or more than `max_failed` of the instances failed.
        DataError: no instance has a consensus.
        RestrictedDataError: an endpoint outside this machine, or `out` inside a git work tree, with real data.
    """
    strategy = consensus.get(config.strategy)
    hyper = hyper_of(strategy, config.hyper)
    if config.negatives.seed not in (0, config.seed):
        raise UsageError(f"negatives of seed {config.negatives.seed} in a run of seed {config.seed}; allowed: one seed")
    release = open_release(config.release)
    config = replace(
        config, negatives=replace(config.negatives, seed=config.seed), teachers=_teachers(release, config.teachers)
    )
    out = config.out.expanduser().absolute()
    work = Work(_folder(out), config.model, config.retention, config.seed, config.jobs)
    recipe = _recipe(config, strategy, hyper, work, release)
    wanted = _wanted(release, config)
    done = _finished(config, out, strategy.NAME, recipe, len(wanted))
    if done is not None:
        # A kill may have come between the release and the end of the work.
        shutil.rmtree(work.folder, ignore_errors=True)
        sweep(out)
        return done
    _check_version(release, config.version, strategy.NAME)
    new_dir(out, overwrite=config.overwrite)
    if is_restricted(release.synthetic):
        refuse_git(out)
    images = _images(release, config) if _looks(strategy, hyper) else None
    choose = _chooser(release, config)
    output_dir(work.folder, synthetic=release.synthetic).chmod(0o700)
    panels = read_panels(release, wanted, images, config.teachers)
    written = _Gathered(strategy.write(panels, hyper, Work(**{**vars(work), "total": len(wanted)})))
    _check_failed(written, len(wanted), config.max_failed)
    made = written.frame(strategy.NAME, recipe)
    preferences = choose(made)
    tables = {"consensus": made, "preferences": preferences.frame}
    new = extend(release, out, config.version, _beside(release, tables, strategy.NAME), overwrite=config.overwrite)
    shutil.rmtree(work.folder, ignore_errors=True)
    return ConsensusResult(
        new, strategy.NAME, len(wanted), made.height, preferences.frame.height, written.left_out,
        preferences.dropped, preferences.negatives_dropped, written.unsupported, written.cut,
    )  # fmt: skip


def _teachers(release: Release, names: Iterable[str]) -> tuple[str, ...]:
    """Ids of those who take part, by any known spelling, sorted; none stands for all."""
    wanted = {t.id if (t := find_teacher(name.strip())) else name.strip() for name in names}
    if not wanted:
        return ()
    known = set(release.scan("trajectories").select("teacher").unique().collect()["teacher"])
    for name in sorted(wanted - known):
        raise UnknownNameError.of("teacher of the release", name, known)
    if len(wanted) == 1:
        raise UsageError(f"teachers {', '.join(wanted)}; allowed: two or more, since one voice is no consensus")
    return tuple(sorted(wanted))


def _folder(out: Path) -> Path:
    """Where unfinished work lies: hidden, beside the release."""
    return out.with_name(f".{out.name}.consensus")


def _recipe(config: ConsensusConfig, strategy: ModuleType, hyper: Any, work: Work, release: Release) -> str:
    """Everything the rows depend on, as JSON without ids, paths or texts."""
    more = strategy.describe(hyper, work) if hasattr(strategy, "describe") else {}
    parts = {
        "strategy": strategy.NAME,
        "settings": asdict(hyper),
        **more,
        "seed": config.seed,
        "negatives": config.negatives.identity(),
        "split": None if config.split is None else canonical_split(config.split),
        "limit": config.limit,
        "release": {"version": release.version, "hash": release.manifest["release_hash"]},
        "lexicon": findings.LEXICON_VERSION,
        "cxr_max": __version__,
    }
    if config.teachers:
        parts["teachers"] = list(config.teachers)
    return json.dumps(parts, sort_keys=True)


def _finished(config: ConsensusConfig, out: Path, strategy: str, recipe: str, wanted: int) -> ConsensusResult | None:
    """What the same configuration made before; None when `out` holds no finished consensus by the strategy.

    Raises:
        UsageError: another configuration made it, and it is not to be overwritten.
    """
    if not (out / "manifest.json").is_file() or not is_complete(out):
        return None
    release = open_release(out)
    if "consensus" not in release.tables:
        return None
    mine = pl.col("strategy") == strategy
    made = release.scan("consensus").filter(mine).select("recipe", pl.col("supported_by").list.len()).collect()
    if made.is_empty():
        return None
    differs = [d for r in made["recipe"].unique().sort() for d in _differences(json.loads(r), json.loads(recipe))]
    if release.version != config.version:
        differs.append(f"version {release.version!r}, asked: {config.version!r}")
    if differs and not config.overwrite:
        raise UsageError(
            f"{out} holds a consensus by {strategy} of another configuration: {'; '.join(differs)}",
            next="the settings it was made with, another --out, or --overwrite to replace it",
        )
    if differs:
        return None
    rows = release.scan("preferences").filter(mine).select(pl.len()).collect().item()
    silent = made.filter(pl.col("supported_by") == 0).height
    return ConsensusResult(release, strategy, wanted, made.height, rows, {}, {}, {}, silent, 0, resumed=True)


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any], name: str = "") -> list[str]:
    """`name there, asked: value` for every value two recipes do not share, with dotted names."""
    found = []
    for key in sorted({*there, *asked}):
        one, other, path = there.get(key), asked.get(key), f"{name}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{path}.")
        elif one != other:
            found.append(f"{path} {one!r}, asked: {other!r}")
    return found


def _check_version(release: Release, version: str, strategy: str) -> None:
    """Refuse before the work what `extend` would refuse after it."""
    old, new = versions.parse(release.version), versions.parse(version)
    has = "consensus" in release.tables and strategy in set(
        release.scan("consensus").select("strategy").unique().collect()["strategy"]
    )
    level = "major" if has else "minor"
    if versions.LEVELS.index(versions.step(old, new)) < versions.LEVELS.index(level):
        what = f"the consensus by {strategy} is replaced" if has else "tables are added"
        bumped = f"{old.major + 1}.0.0" if has else f"{old.major}.{old.minor + 1}.0"
        raise CheckFailedError(f"{release.version} -> {version}: {what}, {level} is needed", next=f"--version {bumped}")


def _wanted(release: Release, config: ConsensusConfig) -> frozenset[str]:
    instances = release.scan("instances").select("instance_id", "split")
    if config.split is not None:
        instances = instances.filter(pl.col("split") == canonical_split(config.split))
    ids = instances.collect()["instance_id"].sort()
    if config.limit is not None and config.limit < 1:
        raise UsageError(f"limit {config.limit}; allowed: 1 and above")
    return frozenset(ids.head(config.limit) if config.limit else ids)


def _looks(strategy: ModuleType, hyper: Any) -> bool:
    return bool(strategy.images(hyper)) if hasattr(strategy, "images") else False


def _images(release: Release, config: ConsensusConfig) -> dict[str, tuple[str, ...]]:
    if not config.mimic_roots:
        raise UsageError(
            f"{config.strategy} looks at images and no MIMIC root is given",
            next="--mimic-root PATH, or images=false for the control without images",
        )
    joined = mimic.join(release, mimic.open_root(*config.mimic_roots))
    rows = joined.scan("images").filter(pl.col("path").is_not_null()).collect()
    grouped = rows.group_by("instance_id", maintain_order=True).agg("path")
    return {instance: tuple(paths) for instance, paths in grouped.iter_rows()}


def _chooser(release: Release, config: ConsensusConfig) -> Callable[[pl.DataFrame], Rows]:
    """What makes preferences out of consensus rows; scores and weights are computed now, before long work."""
    choice = config.negatives
    instances = release.scan("instances").select("instance_id", "subject_id", "diseases").collect()
    trajectories = release.scan("trajectories").select(*_KEY, "refusal", "prompt", "trajectory")
    if config.teachers:
        trajectories = trajectories.filter(pl.col("teacher").is_in(config.teachers))
    scores = weights = None
    if choice.weights == "table":
        raise UsageError(
            "weights 'table' are those of a table of preferences, which is made here", next="weights drift"
        )
    if choice.weights == "drift" or choice.kind in ("drifting", "top_k"):
        options = drift.Config(teachers=config.teachers or None)
        encoded = drift.encode(release, options)
        keys = trajectories.select(_KEY).collect()
        # Drift is measured on the first generation; the others of a teacher share its figures.
        weights = keys.join(weighting.compute(encoded, options).drop("generation"), on=_KEY[:2])
        scores = keys.join(_outliers(encoded, options), on=_KEY[:2])

    def choose(made: pl.DataFrame) -> Rows:
        rejected = pl.struct("teacher", "generation", "trajectory").alias("rejected")
        groups = (
            trajectories.filter(pl.col("instance_id").is_in(made["instance_id"].implode()))
            .collect()
            .sort(_KEY)
            .group_by("instance_id", maintain_order=True)
            .agg(pl.col("prompt").first(), rejected)
        )
        every = made.rename({"trajectory": "chosen"}).join(groups, on="instance_id")
        every = every.with_columns(weights=pl.lit(None, pl.List(pl.Float32)))
        tables = Tables(
            preferences=every.select(TABLES["preferences"].names),
            instances=instances,
            trajectories=trajectories.drop("trajectory").collect() if choice.kind == "no_refusals" else None,
            scores=scores,
            weights=weights,
        )
        return preference_rows(tables, choice)

    return choose


def _outliers(encoded: Any, options: Any) -> pl.DataFrame:
    _, z, _ = weighting.outliers(encoded, options)
    i, u = weighting.given(encoded)[0].nonzero()
    teachers = [encoded.vocabulary.teachers[k] for k in u]
    return pl.DataFrame({"instance_id": encoded.instance_id[i].tolist(), "teacher": teachers, "z": z[i, u]})


class _Gathered:
    """Outcomes as rows, and counts of the others."""

    def __init__(self, outcomes: Iterable[Consensus | LeftOut]) -> None:
        self.rows: list[Consensus] = []
        left_out: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for outcome in outcomes:
            if isinstance(outcome, Consensus):
                self.rows.append(outcome)
            else:
                left_out[outcome.reason] += 1
                failed[outcome.reason] += outcome.failed
        self.left_out = dict(left_out)
        self.failed = {reason: n for reason, n in failed.items() if n}
        self.cut = sum(r.cut for r in self.rows)
        self.unsupported = sum(not r.support for r in self.rows)

    def frame(self, strategy: str, recipe: str) -> pl.DataFrame:
        if not self.rows:
            raise DataError(f"no instance has a consensus: {self.left_out or 'there are no instances'}")
        rows = [
            {
                "instance_id": r.instance_id,
                "strategy": strategy,
                "trajectory": r.trajectory,
                "supported_by": r.supported_by,
                "support": [s._asdict() for s in r.support],
                "recipe": recipe,
            }
            for r in self.rows
        ]
        return pl.DataFrame(rows, schema=TABLES["consensus"].polars())


def _check_failed(written: _Gathered, wanted: int, most: float) -> None:
    failed = sum(written.failed.values())
    if failed > most * wanted:
        raise CheckFailedError(
            f"{failed:,} of {wanted:,} instances failed ({written.failed}); allowed: {most:.0%}. Nothing was written",
            next="the same command again asks only for what is missing",
        )


def _beside(release: Release, tables: Mapping[str, pl.DataFrame], strategy: str) -> dict[str, pl.DataFrame]:
    """The new rows beside those other strategies left in the release."""
    whole = {}
    for name, rows in tables.items():
        if name in release.tables:
            others = release.scan(name).filter(pl.col("strategy") != strategy).collect()
            rows = pl.concat([others.select(rows.columns), rows])
        whole[name] = rows
    return whole
