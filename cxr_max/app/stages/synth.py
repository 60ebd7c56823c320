"""Write the synthetic world."""

from typing import Any

from cxr_max import synth


def run(config: Any) -> str:
    """A world with images; a draft that a kill left is removed by the writer itself."""
    size = {"subjects": 40, "size": 192} if config.quick else {"subjects": 160, "size": 320}
    world = config.out / "world"
    synth.write_world(synth.WorldConfig(seed=config.seed, jobs=2, **size), world)
    return f"{world}: mimic/, eval/, raw/ and truth/"
