"""The student of the paper and its shrunk image: the same classes, template, processor settings and schedule."""

from typing import Any

from cxr_max.align import Lora, ModelSpec, Scratch

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
MIN_PIXELS, MAX_PIXELS = 56 * 56, 1280 * 28 * 28
"""At most 1,280 image tokens: neither documents nor scripts say; the model's own limit gives a radiograph ten times as
many as its text has."""


def student(lora: Lora, *, shrink: bool, pretrained: str = MODEL, tokenizer: str | None = None) -> dict[str, Any]:
    """The two stages' model specs by name: `first` and `second`, the second without its weights.

    Args:
        lora: adapter of both stages; the first is merged before the second is added.
        shrink: random weights, two layers, hidden size 64.
        pretrained: folder or name of the real model.
        tokenizer: of the shrunk model; None trains a small one.
    """
    dtype = "float32" if shrink else "bfloat16"
    limits = {"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS}
    second = ModelSpec(dtype=dtype, lora=lora, **limits)
    if shrink:
        scratch = Scratch(tokenizer=tokenizer)
        return {"first": ModelSpec(scratch=scratch, dtype=dtype, lora=lora, **limits), "second": second}
    return {"first": ModelSpec(pretrained=pretrained, dtype=dtype, lora=lora, **limits), "second": second}
