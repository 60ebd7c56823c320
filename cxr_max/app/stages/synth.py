"""Write the synthetic world."""

from typing import Any

from cxr_max import synth
from cxr_max.app import films
from cxr_max.app.panel import Panel


def run(config: Any) -> Panel:
    """A world with images; it gets its name when it is complete, so one that is there was made by this demo."""
    size = {"subjects": 40, "size": 192} if config.quick else {"subjects": 160, "size": 320}
    world = config.out / "world"
    if not world.exists():
        # Short essays: a student as small as the demo's never ends a long one.
        synth.write_world(synth.WorldConfig(seed=config.seed, jobs=2, length=0.1, **size), world)
    films.sheet(world, config.out / "films.png")
    return Panel(
        f"{world}: mimic/, eval/, raw/ and truth/",
        picture="films.png",
        caption="Synthetic films, each under what is planted in it.",
        links=(
            ("world/mimic", "the patients, reports, labels and films, in the layout of PhysioNet"),
            ("world/raw", "what the seven simulated teachers said"),
            ("world/truth", "what is true, and where each teacher errs"),
        ),
    )
