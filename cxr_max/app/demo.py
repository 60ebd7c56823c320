"""The main job on the synthetic world, stage by stage: what `cxr-max demo` and `make demo` run.

Every stage writes into its own folder below the output folder and leaves a mark when it is done, so that a demo that
was killed continues with the stage it was in. The last thing written is one page that summarises and links all of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxr_max.app import summary
from cxr_max.app.panel import Panel
from cxr_max.errors import UsageError
from cxr_max.folders import write_atomic
from cxr_max.plugins import Registry

PLAN: tuple[tuple[str, str], ...] = (
    ("synth", "a synthetic world: patients, images, reports, seven simulated teachers"),
    ("build", "teacher outputs to a verified release"),
    ("load", 'load_dataset("cxr-max")'),
    ("join", "the release joined to the MIMIC-shaped root, with coverage"),
    ("drift", "how the teachers drift apart, as a report"),
    ("train", "SFT, consensus and APO with a tiny student"),
    ("evaluate", "the students on the evaluation tasks"),
    ("compare", "one table that compares them"),
)
"""Every stage of the main job, in order, with what it makes."""


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
        name: a name of `PLAN`.
        state: "done", "kept" (from an earlier run) or "missing" (not part of this version).
        seconds: wall-clock time; 0 unless done now.
        note: what a person should look at, or why it is missing.
        panel: what the stage shows on the summary page; None when it is missing.
    """

    name: str
    state: str
    seconds: float
    note: str
    panel: Panel | None = None


Stage = Callable[[DemoConfig], Panel]

REGISTRY = Registry("stage", "cxr_max.app.stages", "cxr_max.stages", ("run",))


def stages() -> dict[str, Stage]:
    """The stages this version has; each returns what it shows on the summary page."""
    return {name: REGISTRY.get(name).run for name in REGISTRY.own()}


def run(config: DemoConfig, *, on_stage: Callable[[str, str], None] = lambda name, what: None) -> list[StageResult]:
    """Run all stages that exist, naming those that do not.

    Args:
        config: output folder, size and seed.
        on_stage: called with name and description when a stage begins.

    Raises:
        UsageError: the output folder holds something that is not a demo's, or a demo of other settings.
    """
    _claim(config)
    results, have = [], stages()
    for name, what in PLAN:
        stage, mark = have.get(name), config.out / f".{name}.done"
        if stage is None:
            results.append(StageResult(name, "missing", 0.0, "not part of this version yet"))
        elif mark.exists():
            panel = Panel.from_json(mark.read_text(encoding="utf-8"))
            results.append(StageResult(name, "kept", 0.0, panel.note, panel))
        else:
            on_stage(name, what)
            begun = time.monotonic()
            panel = stage(config)
            write_atomic(mark, panel.to_json())
            results.append(StageResult(name, "done", time.monotonic() - begun, panel.note, panel))
    what_of = dict(PLAN)
    sections = [summary.Section(r.name, what_of[r.name], r.state, r.panel) for r in results]
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
