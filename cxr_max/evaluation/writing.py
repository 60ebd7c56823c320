"""Letting a model write: greedily, or at random in a way that does not depend on what stands in the same batch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from cxr_max.align import generation
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
    pad = generation.padding_of(tokenizer)
    batch = inputs.batch(questions, pad=pad, device=parameter.device, dtype=parameter.dtype)
    drawn = [Drawn(keys, decoding)] if decoding.temperature > 0 else []
    with inputs.inference(model):
        made = generation.continued(model, tokenizer, batch, decoding.max_tokens, drawn)
    return [str(t) for t in tokenizer.batch_decode(made, skip_special_tokens=True)]
