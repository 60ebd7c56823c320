"""The whole method on a laptop: a Qwen2.5-VL of a million random weights, on the synthetic world.

    cxr-max synth --out world --subjects 600 --size 112
    cxr-max build world/raw --out release
    cxr-max train tiny_cpu --release release --mimic-root world/mimic --out runs/tiny

Hardware: 2 cores, 4 GB. Expect some minutes a stage. Random weights cannot see, so a stage of its own comes first,
where a pretrained student has its pretraining: supervised training on the diagnoses alone (template `name`). Then the
method: trajectories of all teachers with the diagnoses (template `diagnose`), consensus, APO. Classes, chat format,
image processor, losses and checkpoints are those of the large recipes. What it learns: `benchmarks/learns.py`.

Its settings are its own, chosen on validate (600 patients, `length=0.1`):

- Supervised training takes one image a step, at half the rate of `sight`, with a frozen tower. Small data want steps:
  400 images give a loss of 1.5 in 400 steps, 4.0 in 100 steps of four, for the same time.
- APO has a rate of 1e-5 and an anchor (`nll_weight=1`); the paper has 2e-5 for an adapter, and no anchor. The loss is
  the paper's plain sum over tokens, and a consensus of 40 tokens stands against trajectories of 110 to 370. At 1e-4
  the margin is 12 after ten steps, the loss 0.001, and nothing holds the positive any longer: by step 50 it has lost 2
  nats a token, and with them the format; 137 of 137 greedy answers were in it before, none is after. At 1e-5 all 137
  stay. `apo_learning_rate=1e-4 nll_weight=0` shows the collapse.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_max import align
from cxr_max.align import ModelSpec, Optimizer, Scratch, TrainConfig
from cxr_max.recipes import _parts
from cxr_max.teachers import TEACHER_IDS

NAME = "tiny_cpu"

TEXT = {
    "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 3,
    "num_key_value_heads": 3, "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
}  # fmt: skip
VISION = {
    "depth": 3, "hidden_size": 96, "intermediate_size": 256, "num_heads": 3, "fullatt_block_indexes": [0, 1, 2],
}  # fmt: skip


@dataclass(frozen=True)
class Options(_parts.Common):
    """Options beside those of every recipe.

    Attributes:
        sight_epochs: passes over images and diagnoses before the method starts; 0 leaves that stage out.
        epochs, apo_epochs: passes of the method's two stages.
        learning_rate: of learning to see.
        sft_learning_rate: of supervised training on trajectories.
        apo_learning_rate: of the preference stage.
        nll_weight: of APO's anchor on the positive; the paper has none, 0.
        groups: images a step of supervised training on trajectories.
        side: of the image in pixels, a multiple of 28.
    """

    sight_epochs: float = 12.0
    epochs: float = 1.0
    apo_epochs: float = 1.0
    learning_rate: float = 2e-3
    sft_learning_rate: float = 1e-3
    apo_learning_rate: float = 1e-5
    nll_weight: float = 1.0
    groups: int = 1
    side: int = 112


def build(
    *,
    release: Path,
    out: Path,
    roots: tuple[str, ...] = (),
    mimic_root: tuple[Path, ...] | Path | None = (),
    seed: int = 0,
    shrink: bool = False,
    **options: Any,
) -> tuple[Any, ...]:
    """Learning to see, supervised training on all teachers, a consensus, APO.

    Args:
        release, out, roots, mimic_root, seed: see `recipes.Order`.
        shrink: two layers, ten images, two steps a stage.
        **options: of `Options`.
    """
    o, where = Options(**options), _parts.places(release, out, roots, mimic_root, seed)
    scratch = Scratch(vocabulary=1000) if shrink else Scratch(text=TEXT, vision=VISION, vocabulary=2000)
    side = o.side**2
    fields = _parts.shared(NAME, where, o, shrink=shrink)
    random = ModelSpec(scratch=scratch, freeze_vision=False, min_pixels=side, max_pixels=side)
    sight = TrainConfig(
        out=where.out / "sight",
        model=random,
        method="sft",
        epochs=o.sight_epochs,
        optimizer=Optimizer(
            learning_rate=o.learning_rate, min_learning_rate=1e-5, warmup_ratio=0.05, groups=16, micro_groups=16
        ),
        # One completion an image: all teachers were told the same diagnoses.
        **(fields | {"template": "name", "teachers": (o.teachers or TEACHER_IDS)[:1]}),
    )
    sft = TrainConfig(
        out=where.out / "sft",
        # As in the paper the tower is frozen once it sees.
        model=ModelSpec() if o.sight_epochs else random,
        start=sight.out / "final" if o.sight_epochs else None,
        method="sft",
        epochs=o.epochs,
        optimizer=Optimizer(
            learning_rate=o.sft_learning_rate, min_learning_rate=1e-5, warmup_ratio=0.05, groups=o.groups,
            micro_groups=min(o.groups, o.micro_groups),
        ),
        **fields,
    )  # fmt: skip
    second = TrainConfig(
        out=where.out / "apo",
        model=ModelSpec(),
        method=o.method,
        start=where.out / "sft" / "final",
        positives=o.strategy,
        hyper=_hyper(o),
        epochs=o.apo_epochs,
        optimizer=Optimizer(learning_rate=o.apo_learning_rate, groups=2, micro_groups=min(2, o.micro_groups)),
        **fields,
    )
    return (sight,) * bool(o.sight_epochs) + _parts.with_consensus(sft, second, where)


def _hyper(options: Options) -> dict[str, Any]:
    """Settings of the preference stage; the anchor where its method has one."""
    has = "nll_weight" in align.methods.get(options.method).Hyper.__dataclass_fields__
    return {"beta": options.beta} | ({"nll_weight": options.nll_weight} if has else {})
