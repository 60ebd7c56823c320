"""Tokenizers: a small one trained on the spot, and the real one of Qwen2.5 built from a registry package's file."""

import base64
import functools
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end"]
SPECIAL += ["quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"]
PLAIN = ["<tool_call>", "</tool_call>"] + [
    f"<|{t}|>" for t in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")
]


def data_file(distribution: str, path: str) -> Path:
    """A file of an installed data package; skips the test when it is absent."""
    try:
        found = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed; see tests/data-packages.txt")
    if not found.is_file():
        pytest.skip(f"{distribution} lacks {path}")
    return found


def chat_template() -> str:
    """The published chat template of Qwen2.5-VL."""
    return data_file("trl", "trl/chat_templates/qwen2_5_vl.jinja").read_text()


def _dress(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _add(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(f"<|{t}|>", special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> Any:
    """Write a folder that `AutoTokenizer` reads, and read it."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(chat_template())
    return AutoTokenizer.from_pretrained(folder)


def small(folder: Path) -> Any:
    """Byte-level, some 290 entries, trained on two sentences, with Qwen's added tokens and chat template."""
    tokenizer = _dress(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = ["There is a small left pleural effusion.", "No pneumothorax is seen on the right side. Diagnoses: Edema."]
    tokenizer.train_from_iterator(texts, trainer)
    return save(_add(tokenizer), folder)


@functools.cache
def real_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of Qwen2.5, from the ranks that dashscope ships."""
    lines = data_file("dashscope", "dashscope/resources/qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines)}
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain} | {
        b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in plain)
    }

    def text(token: bytes) -> str:
        return "".join(letters[b] for b in token)

    def halves(token: bytes, limit: int) -> list[bytes]:
        """The two parts the token was last merged from: merge all pairs of lower rank."""
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            _, i = min((ranks.get(parts[i] + parts[i + 1], limit), i) for i in range(len(parts) - 1))
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    ordered = sorted(ranks.items(), key=lambda item: item[1])
    merges = [tuple(map(text, halves(t, r))) for t, r in ordered if len(t) > 1]
    return {text(t): r for t, r in ranks.items()}, merges  # type: ignore[return-value]


def real(folder: Path) -> Any:
    """Qwen2.5's tokenizer as published; takes some seconds to build."""
    vocabulary, merges = real_vocabulary()
    return save(_add(_dress(Tokenizer(models.BPE(vocab=vocabulary, merges=merges)))), folder)
