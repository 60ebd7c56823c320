"""The plan: which runs there are, in which order, what each needs, and how often each sees a completion.

Pure: nothing is read or trained here.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_max.evaluation.bench.config import BenchConfig, Design, Setting, candidates
from cxr_max.evaluation.rows import Row

SFT = "sft"


@dataclass(frozen=True)
class Job:
    """One row at one seed: the unit that is resumed, handed to another machine and stored as one result.

    Attributes:
        index: position in the plan, for `--only`.
        row: the row.
        seed: of weights, order and dropout.
        fraction: of the training patients.
    """

    index: int
    row: Row
    seed: int
    fraction: float

    @property
    def name(self) -> str:
        """Of its folder and result file."""
        part = "" if self.fraction == 1 else f"-fraction{self.fraction:g}"
        return f"{self.row.name}{part}-seed{self.seed}"


@dataclass(frozen=True)
class Trial:
    """One setting of a row on one seed, at part of the length, judged on validate."""

    row: Row
    setting: Setting
    number: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.row.name}-setting{self.number}-seed{self.seed}"


def plan(config: BenchConfig) -> tuple[Job, ...]:
    """All jobs in an order in which each finds what it needs: seed by seed, rows that need the others' costs last."""
    ordered = sorted(config.rows, key=lambda r: r.budget == "longest")
    wanted = [(f, s, row) for f in config.fractions for s in range(config.seeds) for row in ordered]
    return tuple(Job(i, row, seed, fraction) for i, (fraction, seed, row) in enumerate(wanted))


def trials(config: BenchConfig, row: Row) -> tuple[Trial, ...]:
    """The trials of a row: every candidate on the same seeds; none when there is only one candidate to choose."""
    settings = candidates(config.design, row)
    if len(settings) < 2:
        return ()
    return tuple(Trial(row, s, n, seed) for n, s in enumerate(settings) for seed in range(config.design.trial_seeds))


def epochs(design: Design, row: Row, *, trial: bool = False) -> float:
    """Passes of a row's own stage over its completions; the shared sft stage of its seed comes before it.

    Rows are equal in how often each completion is seen, so they differ in cost; costs are columns of the table. A row
    of budget `longest` goes on to a cost instead, and its trials are as long as those of the other rows.
    """
    if not row.trained:
        return 0.0
    whole = design.sft_epochs if row.start == "fresh" else design.epochs
    return whole * (design.trial_length if trial else 1.0)


def sft_of(config: BenchConfig) -> Row:
    """The row whose checkpoint the others start from, with `fresh` and nothing but sft."""
    found = [r for r in config.rows if r.name == SFT]
    return found[0] if found else Row(SFT, "shared start", "sft", start="fresh")


def commands(config: BenchConfig, world: Sequence[tuple[str, str]] = ()) -> list[str]:
    """One resumable shell command a job.

    Args:
        config: the benchmark.
        world: options and their values that are repeated as they are, such as `--mimic-root` and `--truth`.
    """
    base = ["cxr-max", "bench", "--recipe", config.spelled or config.recipe.NAME, "--release", str(config.release)]
    base += ["--rows", ",".join(_spelled(r) for r in config.rows if r.folder is None)]
    base += [part for r in config.rows if r.folder is not None for part in ("--add", f"{r.name}={r.folder}")]
    base += ["--seeds", str(config.seeds), "--out", str(config.out)]
    if config.fractions != (1.0,):
        base += ["--fraction", ",".join(f"{f:g}" for f in config.fractions)]
    if config.teachers:
        base += ["--teachers", ",".join(config.teachers)]
    base += ["--quick"] if config.quick else []
    base += ["--draws", str(config.draws)] if config.draws != BenchConfig.draws else []
    for option, value in world:
        base += [option, value]
    more = [f"{k}={v}" for k, v in config.options.items()]
    return [shlex.join([*base, "--only", str(job.index), *more]) for job in plan(config)]


def _spelled(row: Row) -> str:
    return row.name if row.source is None else str(Path(row.source))
