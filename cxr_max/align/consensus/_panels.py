"""What a strategy is given and what it gives back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from cxr_max.data.folder import ReleaseFolder
from cxr_max.endpoint import Retention

_COLUMNS = ("instance_id", "teacher", "generation", "prompt", "diseases", "trajectory")


class Answer(NamedTuple):
    """One teacher's trajectory."""

    teacher: str
    generation: int
    text: str


class Panel(NamedTuple):
    """An instance and all that its teachers wrote of it.

    Attributes:
        instance_id: the instance.
        prompt: what the teachers were asked.
        diseases: diagnoses the prompt names.
        answers: sorted by teacher and generation; none is blank.
        images: paths of its images; empty for strategies that look at none.
    """

    instance_id: str
    prompt: str
    diseases: tuple[str, ...]
    answers: tuple[Answer, ...]
    images: tuple[str, ...] = ()

    @property
    def teachers(self) -> tuple[str, ...]:
        """Teachers with a text, sorted."""
        return tuple(sorted({a.teacher for a in self.answers}))


class Support(NamedTuple):
    """Characters [start, end) of a consensus trajectory, and a teacher who says all that is found there."""

    start: int
    end: int
    teacher: str


class Consensus(NamedTuple):
    """A consensus trajectory, who supports which of its clauses, and whether it was cut off at its longest length."""

    instance_id: str
    trajectory: str
    support: tuple[Support, ...]
    cut: bool = False

    @property
    def supported_by(self) -> tuple[str, ...]:
        """Teachers who support at least one clause, sorted."""
        return tuple(sorted({s.teacher for s in self.support}))


class LeftOut(NamedTuple):
    """An instance without a consensus, and why (neither text nor ids); `failed` when it is worth another try."""

    instance_id: str
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Work:
    """What a strategy may use beside its settings.

    Attributes:
        folder: private, kept until the release is written; for a journal.
        model: folder of a local model, or address of an endpoint.
        retention: declaration for an endpoint outside this machine.
        seed: of everything that is drawn.
        jobs: worker processes.
        total: number of panels, for a progress bar.
    """

    folder: Path
    model: str | None = None
    retention: Retention | None = None
    seed: int = 0
    jobs: int = 1
    total: int = 0


def read_panels(
    release: ReleaseFolder,
    wanted: frozenset[str],
    images: Mapping[str, tuple[str, ...]] | None,
    teachers: tuple[str, ...] = (),
) -> Iterator[Panel]:
    """The panels of the wanted instances, shard by shard, sorted by instance inside each; of these teachers alone."""
    for file in release.files("trajectories"):
        frame = pl.read_parquet(file, columns=list(_COLUMNS))
        if teachers:
            frame = frame.filter(pl.col("teacher").is_in(teachers))
        frame = frame.filter(pl.col("instance_id").is_in(list(wanted))).sort("instance_id", "teacher", "generation")
        for (instance,), rows in frame.group_by("instance_id", maintain_order=True):
            answers = (Answer(*a) for a in rows.select("teacher", "generation", "trajectory").iter_rows())
            yield Panel(
                str(instance),
                rows["prompt"][0],
                tuple(rows["diseases"][0]),
                tuple(a for a in answers if a.text.strip()),
                images.get(str(instance), ()) if images else (),
            )
