"""What recipes share: options every one has, and the consensus between the two stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cxr_max import align
from cxr_max.align import TrainConfig
from cxr_max.data import open_release, versions
from cxr_max.teachers import TEACHER_IDS


@dataclass(frozen=True)
class Common:
    """Options of every recipe.

    Attributes:
        template: `diagnose` or `rationale`.
        strategy: consensus strategy whose trajectory is the positive of the second stage; or a teacher's id.
        method: of the second stage.
        beta: of its reward.
        train_on: `clean`, or `all` as the paper had it.
        teachers: only these teachers; all when empty.
        fraction: of the patients.
        limit: at most so many instances.
        max_steps: of each stage, instead of whole epochs.
        max_length: tokens of prompt, image and one completion.
        micro_groups: images a process takes at once; less needs less memory.
        trackers: `tensorboard`, or remote ones with --remote-metrics.
        check_memory: stop when the estimate exceeds what is free.
    """

    template: str = "diagnose"
    strategy: str = "vote"
    method: str = "apo"
    beta: float = 0.1
    train_on: str = "clean"
    teachers: tuple[str, ...] = ()
    fraction: float = 1.0
    limit: int | None = None
    max_steps: int | None = None
    max_length: int | None = None
    micro_groups: int = 1
    trackers: tuple[str, ...] = ()
    check_memory: bool = True


class Places(NamedTuple):
    """Where a run reads and writes, and its seed."""

    release: Path
    out: Path
    roots: tuple[str, ...]
    mimic_root: tuple[Path, ...]
    seed: int


def shared(name: str, where: Places, options: Common, *, shrink: bool) -> dict[str, Any]:
    """Fields that both stages of a recipe have in common; ten images, two steps, short texts when shrunk."""
    return {
        "release": Path(where.release),
        "roots": where.roots,
        "mimic_root": where.mimic_root,
        "seed": where.seed,
        "recipe": name,
        "template": options.template,
        "train_on": options.train_on,
        "teachers": options.teachers,
        "fraction": options.fraction,
        "limit": 10 if shrink else options.limit,
        "max_steps": 2 if shrink else options.max_steps,
        "max_length": options.max_length,
        "max_completion": 48 if shrink else None,
        "trackers": options.trackers,
        "check_memory": options.check_memory,
    }


def places(
    release: Path, out: Path, roots: tuple[str, ...], mimic_root: "tuple[Path, ...] | Path | None", seed: int
) -> Places:
    """Arguments of `build` in one piece; one MIMIC root may come by itself."""
    given = () if mimic_root is None else (mimic_root,) if isinstance(mimic_root, Path | str) else mimic_root
    return Places(Path(release), Path(out), tuple(roots), tuple(Path(p) for p in given), seed)


def with_consensus(
    sft: TrainConfig, second: TrainConfig, where: Places, *, hyper: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """The stages with what makes the positives between them; a teacher's own trajectories need nothing made.

    Args:
        sft: the supervised stage.
        second: the preference stage; its positives name the strategy.
        where: of the run.
        hyper: settings of the strategy.
    """
    strategy = str(second.positives)
    if strategy in TEACHER_IDS or strategy in _strategies(where.release):
        return sft, second
    folder = where.out / "consensus"
    middle = align.consensus.ConsensusConfig(
        release=where.release,
        strategy=strategy,
        out=folder,
        version=versions.next_minor(open_release(where.release).version),
        hyper=dict(hyper or {}),
        model=str(sft.out / "final") if align.consensus.asks(strategy) else None,
        mimic_roots=where.mimic_root,
        seed=where.seed,
    )
    return sft, middle, second.with_(release=folder)


def _strategies(release: Path) -> set[str]:
    """Consensus strategies the release holds preferences of already."""
    opened = open_release(release)
    if "preferences" not in opened.tables:
        return set()
    return set(opened.scan("preferences").select("strategy").unique().collect()["strategy"])


class Decision(NamedTuple):
    """One point where the documents leave a setting open or contradict each other.

    Attributes:
        setting: what is to be decided.
        documents: what they say.
        taken: what the recipe does.
    """

    setting: str
    documents: str
    taken: str
