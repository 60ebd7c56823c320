"""What the authors' published shell scripts run: stock supervised training, then stock *pairwise* DPO.

    cxr-max train released_script --release RELEASE --mimic-root PATH --out runs/script

Hardware: the scripts take four GPUs; one is enough here. They call ms-swift on private files (`SPD.json`, `APO.json`),
so where the positives come from is not known: `strategy` decides. Published numbers may be those of this run and not of
the paper's loss. `DECISIONS` lists what the scripts leave open.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_max.align import Lora, Optimizer, TrainConfig
from cxr_max.recipes import _parts, _qwen
from cxr_max.recipes._parts import Decision

NAME = "released_script"

DECISIONS = (
    Decision("batch size", "2 rows x 4 accumulated x 4 processes = 32 rows a step; its first stage is merged at step "
             "10,000 of an epoch that has half as many at 32", "4 images: 28 trajectories or pairs a step"),
    Decision("pairs", "one rejected answer a row", "dpo_pairs: the positive against each of its negatives"),
    Decision("positives", "a private file", "the consensus of all teachers by vote"),
    Decision("optimizer", "left to the tool", "AdamW, betas 0.9 and 0.95, weight decay 0.1, cosine to 0"),
    Decision("dropout", "left to the tool", "0.05 on the adapter's input"),
    Decision("image size", "left to the tool", "at most 1,280 tokens, as in paper_qwen2_5_vl_7b"),
)  # fmt: skip


@dataclass(frozen=True)
class Options(_parts.Common):
    """Options beside those of every recipe.

    Attributes:
        pretrained: folder or hub name of Qwen2.5-VL-7B-Instruct.
        tokenizer: folder of a tokenizer for the shrunk model; None trains a small one.
    """

    template: str = "rationale"
    method: str = "dpo_pairs"
    pretrained: str = _qwen.MODEL
    tokenizer: str | None = None


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
    """Supervised training, consensus, pairwise DPO with the scripts' settings.

    Args:
        release, out, roots, mimic_root, seed: see `recipes.Order`.
        shrink: random weights, two layers, hidden size 64, ten images, two steps.
        **options: of `Options`.
    """
    o, where = Options(**options), _parts.places(release, out, roots, mimic_root, seed)
    models = _qwen.student(Lora(dropout=0.05), shrink=shrink, pretrained=o.pretrained, tokenizer=o.tokenizer)
    fields = _parts.shared(NAME, where, o, shrink=shrink) | {"gradient_checkpointing": True}
    optimizer: dict[str, Any] = {
        "betas": (0.9, 0.95), "weight_decay": 0.1, "schedule": "cosine", "warmup_ratio": 0.05, "groups": 4,
        "micro_groups": o.micro_groups,
    }  # fmt: skip
    sft = TrainConfig(
        out=where.out / "sft",
        model=models["first"],
        method="sft",
        optimizer=Optimizer(learning_rate=1e-4, **optimizer),
        **(fields | {"max_length": o.max_length or 2304}),
    )
    second = TrainConfig(
        out=where.out / "apo",
        model=models["second"],
        method=o.method,
        start=where.out / "sft" / "final",
        positives=o.strategy,
        hyper={"beta": o.beta},
        optimizer=Optimizer(learning_rate=5e-7, **optimizer),
        **(fields | {"max_length": o.max_length or 4096}),
    )
    return _parts.with_consensus(sft, second, where)
