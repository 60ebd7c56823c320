"""Letting a model write: greedily, or at random in a way that does not depend on what stands in the same batch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from cxr_max.evaluation import inputs
from cxr_max.evaluation.inputs import Encoded


@dataclass(frozen=True)
class Decoding:
    """How answers are written.

    Attributes:
        max_tokens: longest answer.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        seed: of the draws.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0


class Drawn(LogitsProcessor):
    """Leaves one token per row, drawn by inverting the cumulative distribution with a row's own random numbers.

    The usual sampling of a batch shares one generator, so that an answer would change with the batch it stands in and a
    resumed run would not equal an uninterrupted one.
    """

    def __init__(self, keys: Sequence[str], decoding: Decoding) -> None:
        self._temperature = decoding.temperature
        digests = (hashlib.sha256(f"{decoding.seed}/{key}".encode()).digest() for key in keys)
        self._generators = [torch.Generator().manual_seed(int.from_bytes(d[:7], "big")) for d in digests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [B, V] with all but the drawn token at minus infinity."""
        p_BV = (scores.double() / self._temperature).softmax(-1)
        u_B1 = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators])
        total_BV = p_BV.cumsum(-1)
        chosen_B1 = torch.searchsorted(total_BV, u_B1.to(scores.device) * total_BV[:, -1:], right=True)
        left = torch.full_like(scores, float("-inf"))
        return left.scatter(-1, chosen_B1.clamp(max=scores.shape[-1] - 1), 0.0)


def write(
    model: Any, tokenizer: Any, questions: Sequence[Encoded], keys: Sequence[str], decoding: Decoding
) -> list[str]:
    """What the model writes to each question, without special tokens.

    Args:
        model: with `generate`.
        tokenizer: of the model.
        questions: encoded questions.
        keys: names the random numbers of each question.
        decoding: length, temperature, seed.
    """
    parameter = next(model.parameters())
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    batch = inputs.batch(questions, pad=pad, device=parameter.device, dtype=parameter.dtype)
    own = model.generation_config
    ends = getattr(own, "eos_token_id", None)
    make: Any = GenerationConfig
    config = make(
        max_new_tokens=decoding.max_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        eos_token_id=sorted({tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}),
    )
    drawn = [Drawn(keys, decoding)] if decoding.temperature > 0 else []
    try:
        # In the model's place, not passed: what is left open in a configuration that is passed comes from the model's
        # own, and a checkpoint's may penalise repetition or sample without being asked.
        model.generation_config = config
        with inputs.inference(model):
            made = model.generate(**batch, logits_processor=LogitsProcessorList(drawn))
    finally:
        model.generation_config = own
    begin = batch["input_ids"].shape[1]
    return [str(t) for t in tokenizer.batch_decode(made[:, begin:], skip_special_tokens=True)]
