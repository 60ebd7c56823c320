"""The main job on the synthetic world, stage by stage: what `cxr-max demo` and `make demo` run.

Every stage writes into its own folder below the output folder and leaves a mark when it is done, so that a demo that
was killed continues with the stage it was in. The last thing written is one page that summarises and links all of it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cxr_max.app import summary
from cxr_max.app.panel import Panel
from cxr_max.app.stages import build, compare, drift, evaluate, join, load, synth, train
from cxr_max.errors import UsageError
from cxr_max.folders import write_atomic


@dataclass(frozen=True)
class DemoConfig:
    """What a demo run is made of.

    Attributes:
        out: folder that holds everything the demo writes.
        quick: smaller world and fewer steps; for a first look and for continuous integration.
        seed: seed of the synthetic world.
    """

    out: Path
    quick: bool = False
    seed: int = 0


@dataclass(frozen=True)
class StageResult:
    """One stage of a run.

    Attributes:
        name: of a stage of `PLAN`.
        state: "done" or "kept" (from an earlier run).
        seconds: wall-clock time; 0 unless done now.
        note: what a person should look at.
        panel: what the stage shows on the summary page.
    """

    name: str
    state: str
    seconds: float
    note: str
    panel: Panel

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return asdict(self)


class Stage(NamedTuple):
    """One stage: its name, what it makes, and the function that makes it and returns what the summary page shows."""

    name: str
    what: str
    run: Callable[[DemoConfig], Panel]


PLAN: tuple[Stage, ...] = (
    Stage("synth", "a synthetic world: patients, images, reports, seven simulated teachers", synth.run),
    Stage("build", "teacher outputs to a verified release", build.run),
    Stage("load", 'load_dataset("cxr-max")', load.run),
    Stage("join", "the release joined to the MIMIC-shaped root, with coverage", join.run),
    Stage("drift", "how the teachers drift apart, as a report", drift.run),
    Stage("train", "SFT, consensus and APO with a tiny student", train.run),
    Stage("evaluate", "the students on the evaluation tasks", evaluate.run),
    Stage("compare", "one table that compares them", compare.run),
)
"""The main job, in order."""


def run(
    config: DemoConfig,
    *,
    plan: Sequence[Stage] = PLAN,
    on_stage: Callable[[str, str], None] = lambda name, what: None,
) -> list[StageResult]:
    """Run all stages; those that an earlier run finished are kept.

    Args:
        config: output folder, size and seed.
        plan: the stages.
        on_stage: called with name and description when a stage begins.

    Raises:
        UsageError: the output folder holds something that is not a demo's, or a demo of other settings.
    """
    _claim(config)
    results, sections = [], []
    for name, what, stage in plan:
        mark = config.out / f".{name}.done"
        if mark.exists():
            panel = Panel.from_json(mark.read_text(encoding="utf-8"))
            results.append(StageResult(name, "kept", 0.0, panel.note, panel))
        else:
            on_stage(name, what)
            begun = time.monotonic()
            panel = stage(config)
            write_atomic(mark, panel.to_json())
            results.append(StageResult(name, "done", time.monotonic() - begun, panel.note, panel))
        sections.append(summary.Section(name, what, results[-1].state, panel))
    summary.write(config.out, sections, quick=config.quick, seed=config.seed)
    return results


def _claim(config: DemoConfig) -> None:
    """Take the output folder for this demo, or continue in it when it is one of the same settings."""
    mark = config.out / ".demo"
    settings = f"quick={config.quick} seed={config.seed}\n"
    if mark.exists() and mark.read_text(encoding="utf-8") != settings:
        raise UsageError(
            f"{config.out} holds a demo of other settings ({mark.read_text(encoding='utf-8').strip()})",
            next="remove the folder or choose another with --out",
        )
    if not mark.exists() and config.out.is_dir() and any(config.out.iterdir()):
        raise UsageError(f"{config.out} is not empty and holds no demo", next="choose another folder with --out")
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, settings)
