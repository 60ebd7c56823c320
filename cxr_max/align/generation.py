"""Batched, seeded generation from a transformers model: what a row draws depends on its own seed, not on its batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

from cxr_max.align.logprobs import image_token_id, unwrap
from cxr_max.align.render import Renderer
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import DataError, UsageError


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn.

    Attributes:
        max_tokens: longest answer.
        temperature: 0 takes the likeliest token (greedy).
        top_p: nucleus; 1 takes the whole vocabulary.
    """

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature <= 10 or not 0 < self.top_p <= 1:
            raise UsageError(
                f"max_tokens {self.max_tokens}, temperature {self.temperature}, top_p {self.top_p}; allowed: "
                "1 and above, 0 to 10, above 0 and at most 1"
            )


class Generated(NamedTuple):
    """An answer without special tokens, and whether it was cut off at its longest length."""

    text: str
    cut: bool


def padding_of(tokenizer: Any) -> int:
    """The id that fills rows; masked wherever it stands."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer: the tokenizer's, and those the checkpoint names."""
    own = getattr(_inside(model).generation_config, "eos_token_id", None)
    return sorted({tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None})


def continued(
    model: Any, tokenizer: Any, inputs: Mapping[str, Tensor], max_tokens: int, processors: Sequence[Any] = ()
) -> Tensor:
    """What the model writes behind left-padded prompts, the likeliest token each time, by the settings stated here.

    transformers fills what a configuration leaves open from the checkpoint's `generation_config.json`, which may hold a
    penalty on repetition that nobody asked for (Qwen2.5-VL's holds 1.05). So ours stands in its place for the call.

    Args:
        model: a transformers model, or a PEFT model around one.
        tokenizer: of the model.
        inputs: of its `generate`: `input_ids` [B, P], `attention_mask`, pixels.
        max_tokens: longest answer.
        processors: change the scores before the likeliest token is taken.

    Returns:
        ids_BT without the prompts; rows that end earlier are padded.
    """
    make: Any = GenerationConfig
    config = make(
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=padding_of(tokenizer),
        eos_token_id=ends_of(model, tokenizer),
    )
    # A PEFT model hands its own configuration down to the model inside it, and leaves it there.
    places = [model] if _inside(model) is model else [model, _inside(model)]
    before = [place.generation_config for place in places]
    try:
        for place in places:
            place.generation_config = config
        made_BT: Tensor = model.generate(
            **inputs, generation_config=config, logits_processor=LogitsProcessorList(list(processors))
        )
    finally:
        for place, own in zip(places, before, strict=True):
            place.generation_config = own
    return made_BT[:, inputs["input_ids"].shape[1] :]


def _inside(model: Any) -> Any:
    """The transformers model inside a PEFT model of any kind; others as they are."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Sampling(LogitsProcessor):
    """Gumbel noise of one generator a row, so that the likeliest token afterwards is a draw of that row's own."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int]) -> None:
        self.decoding = decoding
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        scores = scores.float() / self.decoding.temperature
        if self.decoding.top_p < 1:
            scores = TopPLogitsWarper(self.decoding.top_p)(input_ids, scores)
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self.generators])
        return scores - (-uniform.clamp_min(1e-20).log()).log().to(scores.device)


@torch.no_grad()
def generate(
    model: Any, renderer: Renderer, groups: Sequence[PreferenceGroup], decoding: Decoding, seeds: Sequence[int]
) -> list[Generated | DataError]:
    """One answer a group, in order; its completions are not read.

    Args:
        model: a transformers causal or image-text model, or a PEFT model around one.
        renderer: of the model.
        groups: one batch of questions.
        decoding: how to draw.
        seeds: one a group.

    Returns:
        Answers; for a question that cannot be asked (special tokens, unreadable image, too long) the error.
    """
    asked: list[tuple[Tensor, dict[str, Tensor]] | DataError] = [_prompt(model, renderer, g, decoding) for g in groups]
    rows = [i for i, a in enumerate(asked) if not isinstance(a, DataError)]
    answers: list[Generated | DataError] = [a for a in asked if isinstance(a, DataError)]
    if rows:
        prompts = [a for a in asked if not isinstance(a, DataError)]
        made = _generate(model, renderer, prompts, decoding, [seeds[i] for i in rows])
        errors = iter(answers)
        done = dict(zip(rows, made, strict=True))
        answers = [done[i] if i in done else next(errors) for i in range(len(groups))]
    return answers


def _prompt(
    model: Any, renderer: Renderer, group: PreferenceGroup, decoding: Decoding
) -> tuple[Tensor, dict[str, Tensor]] | DataError:
    try:
        ids_P, pixels = renderer.prefix(group)
    except DataError as error:
        return error
    config = unwrap(model).config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    longest = getattr(text, "max_position_embeddings", None)
    if longest is not None and len(ids_P) + decoding.max_tokens > longest:
        return DataError(f"question and answer are longer than the {longest:,} tokens the model takes")
    return ids_P, pixels


def _generate(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[tuple[Tensor, dict[str, Tensor]]],
    decoding: Decoding,
    seeds: Sequence[int],
) -> list[Generated]:
    tokenizer, inner = renderer.tokenizer, unwrap(model)
    pad, ends = padding_of(tokenizer), torch.tensor(ends_of(model, tokenizer))
    device = inner.get_input_embeddings().weight.device
    width = max(len(ids) for ids, _ in prompts)
    ids_BP = torch.full((len(prompts), width), pad)
    mask_BP = torch.zeros_like(ids_BP)
    for b, (ids_P, _) in enumerate(prompts):
        ids_BP[b, width - len(ids_P) :] = ids_P
        mask_BP[b, width - len(ids_P) :] = 1
    names = {n for _, pixels in prompts for n in pixels}
    extra = {n: torch.cat([p[n] for _, p in prompts if n in p]).to(device) for n in sorted(names)}
    if extra and hasattr(getattr(inner, "model", inner), "get_rope_index"):
        extra["mm_token_type_ids"] = (ids_BP == image_token_id(inner)).int().to(device)
    inputs = {"input_ids": ids_BP.to(device), "attention_mask": mask_BP.to(device), **extra}
    processors = [_Sampling(decoding, seeds)] if decoding.temperature else []
    out_BT = continued(model, tokenizer, inputs, decoding.max_tokens, processors).cpu()
    answers = []
    for row_T in out_BT:
        ended = torch.isin(row_T, ends).nonzero()
        kept = row_T[: int(ended[0])] if len(ended) else row_T
        answers.append(Generated(str(tokenizer.decode(kept, skip_special_tokens=True)), not len(ended)))
    return answers
