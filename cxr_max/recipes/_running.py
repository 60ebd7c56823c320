"""Carry out a recipe: its stages in order, each going on where it was stopped."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_max import align, recipes, settings


@dataclass(frozen=True)
class Order:
    """What a user asks for.

    Attributes:
        recipe: name, or path of a Python file.
        release: folder of the release.
        out: folder of the run; a folder per stage in it.
        roots: `NAME=PATH` of datasets.
        mimic_root: folders of MIMIC-CXR(-JPG).
        seed: of everything.
        options: further options of the recipe, as text or as values.
        remote_metrics: allow remote trackers.
    """

    recipe: str
    release: Path
    out: Path
    roots: tuple[str, ...] = ()
    mimic_root: tuple[Path, ...] = ()
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    remote_metrics: bool = False


def names() -> tuple[str, ...]:
    """All recipes: our own, then those of installed packages."""
    return recipes.REGISTRY.names()


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """`key=value` pairs of the command line.

    Raises:
        UsageError: one has no `=`, or a key stands twice.
    """
    return {key.replace("-", "_"): value for key, value in settings.pairs(pairs).items()}


def stages(order: Order) -> tuple[Any, ...]:
    """The stages of a recipe, built and not yet run.

    Raises:
        UnknownNameError: no such recipe, or it has no such option.
        UsageError: an option's value is of another kind.
    """
    module = recipes.REGISTRY.get(order.recipe)
    built: Any = module.build(
        release=order.release,
        out=order.out,
        roots=order.roots,
        mimic_root=order.mimic_root,
        seed=order.seed,
        **settings.typed(order.options, module.Options, f"option of {order.recipe}"),
    )
    return tuple(s.with_(remote_metrics=order.remote_metrics) if isinstance(s, align.TrainConfig) else s for s in built)


def run(order: Order, *, tell: Callable[[str], None] | None = None) -> list[Any]:
    """Run a recipe; the same call goes on with one that was stopped, and passes over stages that are finished.

    Args:
        order: what to run.
        tell: takes lines for the user.

    Returns:
        What each stage gave: a `TrainResult`, or the result of the consensus.
    """
    say = tell or (lambda line: None)
    results = []
    built = stages(order)
    for number, stage in enumerate(built, 1):
        say(f"stage {number} of {len(built)}: {stage.out.name}")
        if isinstance(stage, align.TrainConfig):
            results.append(align.train(stage, tell=say))
            say(_outcome(results[-1]))
        else:
            results.append(align.consensus.run(stage))
            say(f"consensus in {stage.out}")
    return results


def _outcome(result: Any) -> str:
    loss = result.metrics.get("loss")
    went_on = "" if result.resumed_from is None else f" (went on from step {result.resumed_from})"
    return f"{result.steps:,} steps{went_on}, loss {loss if loss is None else round(loss, 4)}: {result.folder}"
