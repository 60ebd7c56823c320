"""The benchmark's synthetic recipe: a tiny Qwen2.5-VL, and everything that is fixed before the first run.

    python -m benchmarks.synthetic_world --out bench-world
    cxr-max bench --recipe synthetic_bench --release bench-world/release --mimic-root bench-world/world/mimic \
        --truth bench-world/world/truth --seeds 5 --out bench-out

Hardware: 2 cores, 4 GB; at most 4 minutes a run is the aim. `--quick` shows the pipeline in under 5 minutes.
The student starts from random weights, or from `student=FOLDER`, a checkpoint of `cxr-max train`. The world's
contrast, noise and subtlety stand in `synthetic_bench.toml`, set once by `benchmarks/synthetic_difficulty.py` on
validate, before any preference run, and not touched since. Learning rates were spanned on validate patients of other
worlds. Answers are drawn at a low temperature: written greedily, a student this small repeats one sentence up to the
limit as soon as a preference stage moved it a little, and then abstains (seen on validate after the first runs, whose
results are kept). `student=` is the folder `reads4/final` that `python -m benchmarks.synthetic_captioner --out FOLDER`
leaves.
"""

import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from cxr_max.align import ModelSpec, Optimizer, Scratch, TrainConfig
from cxr_max.align.losses import check_choice
from cxr_max.evaluation.bench.config import Design, Endpoint
from cxr_max.recipes import _parts
from cxr_max.synth import WorldConfig

NAME = "synthetic_bench"

SIDE = 112
SIZES = {
    "full": {"hidden": 128, "layers": 3, "depth": 4, "side": SIDE, "vocabulary": 1500, "limit": 500},
    "small": {"hidden": 64, "layers": 2, "depth": 2, "side": 56, "vocabulary": 800, "limit": 40},
}
"""Of student and training data: `full` for results, `small` for `--quick`."""

PRIMARY = Endpoint("diagnosis_test", "macro_accuracy", "mean", "macro balanced accuracy, five findings")
SECOND = Endpoint("diagnosis_test", "side_accuracy", "all", "side accuracy of the rationale")
ON_VALIDATE = Endpoint("diagnosis_validate", "macro_accuracy", "mean", "macro balanced accuracy on validate")
ROWS = (
    "base", "sft_single", "sft", "sft_long", "sft_consensus", "dpo_pairs", "apo", "apo_weighted", "apo_random_neg",
    "dpo_pairs_anchored", "apo_anchored", "apo_in_context",
)  # fmt: skip
CONTRASTS = (
    ("apo", "dpo_pairs"), ("apo", "sft_consensus"), ("apo", "sft_long"), ("apo", "apo_random_neg"),
    ("apo_anchored", "dpo_pairs_anchored"), ("apo_anchored", "sft_consensus"),
)  # fmt: skip

DESIGN = Design(
    primary=PRIMARY,
    second=SECOND,
    chosen_by=ON_VALIDATE,
    rows=ROWS,
    contrasts=CONTRASTS,
    sft_epochs=1.0,
    epochs=1.0,
    fresh_rates=(1e-4, 3e-4, 1e-3, 2e-3),
    continued_rates=(3e-5, 1e-4, 3e-4, 1e-3),
    preference=((0.1, 3e-6), (0.1, 3e-5), (0.5, 3e-6), (0.5, 3e-5)),
    predictor={"max_tokens": "300", "batch_size": "64", "temperature": "0.5"},
    options={"size": "full"},
)
CURVE = ("sft", "sft_consensus", "dpo_pairs", "apo")
"""Rows of the curve over error correlation 0, .25 and .75, three seeds each."""
QUICK = Design(
    primary=PRIMARY,
    second=SECOND,
    chosen_by=ON_VALIDATE,
    rows=("sft", "dpo_pairs", "apo"),
    contrasts=(("apo", "dpo_pairs"),),
    fresh_rates=(2e-3,),
    continued_rates=(3e-4,),
    preference=((0.1, 3e-4),),
    predictor={"max_tokens": "200", "batch_size": "64"},
    options={"size": "small"},
    undertrained=True,
)


def difficulty() -> dict[str, Any]:
    """Contrast, noise and subtlety of the world, and how they were found."""
    found: dict[str, Any] = tomllib.loads(
        files("cxr_max.recipes").joinpath("synthetic_bench.toml").read_text(encoding="utf-8")
    )
    return found


def world(*, subjects: int = 1000, error_correlation: float = 0.5, seed: int = 0, **images: float) -> WorldConfig:
    """The world runs are made in: short essays, films of `SIDE` pixels, the stored difficulty.

    Args:
        subjects: patients; about a tenth each are validate and test.
        error_correlation: between teachers.
        seed: of the world.
        **images: contrast, noise and subtlety instead of the stored ones, for the search alone.
    """
    knobs = images or {k: difficulty()[k] for k in ("contrast", "noise", "subtlety")}
    return WorldConfig(
        subjects=subjects, seed=seed, size=SIDE, length=0.1, error_correlation=error_correlation, **knobs
    )


@dataclass(frozen=True)
class Options(_parts.Common):
    """Options beside those of every recipe.

    Attributes:
        size: of student and data, `full` or `small`; `limit` overrides its number of images.
        student: checkpoint folder to start from; empty starts from random weights.
        learning_rate, apo_learning_rate: of the two stages; the benchmark chooses its own on validate.
    """

    size: str = "full"
    student: str = ""
    learning_rate: float = 2e-3
    apo_learning_rate: float = 3e-5

    def __post_init__(self) -> None:
        check_choice("size", self.size, tuple(SIZES))


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
    """Supervised training, a consensus, APO; `cxr-max bench` makes every row's stages from the first.

    Args:
        release, out, roots, mimic_root, seed: see `recipes.Order`.
        shrink: the small student, ten images, two steps a stage.
        **options: of `Options`.
    """
    o, where = Options(**options), _parts.places(release, out, roots, mimic_root, seed)
    s = SIZES["small" if shrink else o.size]
    fields = _parts.shared(NAME, where, o, shrink=shrink)
    fields["limit"] = fields["limit"] or s["limit"]
    groups = Optimizer(
        learning_rate=o.learning_rate,
        min_learning_rate=1e-6,
        warmup_ratio=0.05,
        groups=o.micro_groups,
        micro_groups=o.micro_groups,
    )
    sft = TrainConfig(out=where.out / "sft", model=_model(s, o.student), method="sft", optimizer=groups, **fields)
    second = TrainConfig(
        out=where.out / "apo",
        model=ModelSpec(freeze_vision=bool(o.student)),
        method=o.method,
        start=where.out / "sft" / "final",
        positives=o.strategy,
        hyper={"beta": o.beta},
        optimizer=replace(groups, learning_rate=o.apo_learning_rate),
        **fields,
    )
    return _parts.with_consensus(sft, second, where)


def _model(size: dict[str, int], student: str) -> ModelSpec:
    pixels = {"min_pixels": size["side"] ** 2, "max_pixels": size["side"] ** 2}
    if student:
        # Its tower sees already, and the paper freezes the tower in both stages.
        return ModelSpec(pretrained=student, **pixels)
    hidden, depth = size["hidden"], size["depth"]
    text = {
        "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": size["layers"],
        "num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 32, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
    }  # fmt: skip
    vision = {
        "depth": depth, "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_heads": 4,
        "fullatt_block_indexes": list(range(depth)), "out_hidden_size": hidden,
    }  # fmt: skip
    scratch = Scratch(text=text, vision=vision, vocabulary=size["vocabulary"])
    return ModelSpec(scratch=scratch, freeze_vision=False, **pixels)
