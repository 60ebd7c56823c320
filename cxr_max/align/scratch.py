"""A Qwen2.5-VL with random weights, of any size: the classes, chat format and image processor of the real one.

For tests, teaching and CPUs. Its tokenizer is a byte-level BPE trained on the text at hand, with Qwen's added tokens,
or one that is given.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as token_models
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from cxr_max.align.config import ModelSpec, Scratch
from cxr_max.align.students import quiet
from cxr_max.errors import UsageError

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ADDED = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
CHAT = """\
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""What Qwen2.5-VL's chat template writes for turns of text and images."""

TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
}  # fmt: skip
VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "fullatt_block_indexes": [1],
}


def write(spec: ModelSpec, texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write model, tokenizer and image processor to a folder that `from_pretrained` reads.

    Args:
        spec: with `scratch`.
        texts: what the tokenizer is trained on, unless one is given.
        folder: to write to; made when absent.
        seed: of the weights.

    Raises:
        UsageError: the spec names no scratch model, or sizes that do not fit each other.
    """
    if spec.scratch is None:
        raise UsageError("the model is not made from scratch")
    tokenizer = tokenizer_of(spec.scratch, texts, folder)
    limits: dict[str, Any] = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels}
    Qwen2VLImageProcessorPil(**{k: v for k, v in limits.items() if v is not None}).save_pretrained(folder)
    with quiet():
        model_of(spec.scratch, tokenizer, seed).save_pretrained(folder)


def tokenizer_of(scratch: Scratch, texts: Iterable[str], folder: Path) -> Any:
    """The tokenizer, saved to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if scratch.tokenizer is not None:
        given = AutoTokenizer.from_pretrained(scratch.tokenizer)
        given.save_pretrained(folder)
        return given
    made = Tokenizer(token_models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(256, scratch.vocabulary - len(ADDED)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ADDED])
    made.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "model_max_length": 32768, "add_prefix_space": False,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def model_of(scratch: Scratch, tokenizer: Any, seed: int) -> Any:
    """The model; its ids of added tokens are the tokenizer's."""
    text = TEXT | dict(scratch.text)
    text["vocab_size"] = max(int(text.get("vocab_size", 0)), len(tokenizer))
    text |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    vision = VISION | dict(scratch.vision) | {"out_hidden_size": text["hidden_size"]}
    heads = text["num_attention_heads"]
    sections = text["rope_parameters"]["mrope_section"]
    if text["hidden_size"] % heads or 2 * sum(sections) != text["hidden_size"] // heads:
        raise UsageError(
            f"hidden size {text['hidden_size']} with {heads} heads and mRoPE sections {sections}; "
            "allowed: sections that sum to half the size of a head"
        )
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _IDS.items()}
    tied = bool(text.pop("tie_word_embeddings", False))
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.float()
