"""A synthetic release with images, and the smallest stages that train on it."""

from pathlib import Path
from typing import Any, NamedTuple


class Tiny(NamedTuple):
    """A release and the MIMIC-shaped root its images lie under."""

    release: Path
    root: Path


def make(folder: Path, *, subjects: int = 14, seed: int = 3) -> Tiny:
    """Write the world and build its release."""
    from cxr_max import data, synth

    synth.write_world(synth.WorldConfig(subjects=subjects, size=112, seed=seed), folder / "world")
    data.build([folder / "world" / "raw"], folder / "release")
    return Tiny(folder / "release", folder / "world" / "mimic")


def stage(tiny: Tiny, out: Path, **changes: Any) -> Any:
    """Supervised training of a random Qwen2.5-VL on short texts and small images: a second or two."""
    from cxr_max.align import ModelSpec, Optimizer, Scratch, TrainConfig

    settings: dict[str, Any] = {
        "release": tiny.release,
        "out": out,
        "model": ModelSpec(
            scratch=Scratch(vocabulary=400), freeze_vision=False, attention_dropout=0.1, min_pixels=56 * 56,
            max_pixels=56 * 56,
        ),
        "method": "sft",
        "template": "diagnose",
        "optimizer": Optimizer(learning_rate=1e-3, groups=2),
        "mimic_root": (tiny.root,),
        "teachers": ("gpt-5", "moonshot", "glm-4.5v"),
        "limit": 8,
        "max_completion": 40,
        "max_steps": 4,
        "save_steps": 2,
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def preferences(tiny: Tiny, out: Path, start: Path, **changes: Any) -> Any:
    """The stage after it: one teacher's trajectory against the others'."""
    from cxr_max.align import ModelSpec

    settings: dict[str, Any] = {
        "method": "apo", "positives": "gpt-5", "start": start,
        "model": ModelSpec(freeze_vision=False, attention_dropout=0.1),
    }  # fmt: skip
    return stage(tiny, out, **(settings | changes))


def undropped(config: Any) -> Any:
    """A stage without dropout on whole texts of four images: its losses do not depend on how many processes train."""
    from dataclasses import replace

    return config.with_(model=replace(config.model, attention_dropout=0.0), max_completion=None, limit=4, max_steps=3)


def both_stages(tiny: Tiny, out: Path) -> Any:
    """Supervised training, then preferences from where it ended, both `undropped`; a checkpoint a step."""
    from cxr_max import align

    first = align.train(undropped(stage(tiny, out / "sft", save_steps=1)))
    return align.train(undropped(preferences(tiny, out / "apo", first.folder, save_steps=1)))
