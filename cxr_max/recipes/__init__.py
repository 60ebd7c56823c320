"""Recipes: a file is a run. `build(...)` returns its stages in order; `run` carries them out.

A recipe module defines `NAME`, `Options` (a frozen dataclass) and `build(*, release, out, roots=(), mimic_root=(),
seed=0, shrink=False, **options)`, which returns stages: `align.TrainConfig` or `align.consensus.ConsensusConfig`. Its
docstring holds the command, the hardware and what to expect.
"""

from cxr_max.plugins import Registry, lazy

REGISTRY = Registry("recipe", "cxr_max.recipes", "cxr_max.recipes", ("NAME", "Options", "build"), beside=("apo_loop",))

__all__ = ["Order", "names", "parse", "run", "stages"]

__getattr__, __dir__ = lazy(__name__, dict.fromkeys(__all__, "_running"))
