"""Questions to model inputs: chat template, image placeholders, pixels, left-padded batches.

Built on the renderer of training, so that a student is asked in the form it was trained in; here a question may have
any number of images, or none for the text-only control.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cxr_max.align.render import Renderer
from cxr_max.errors import DataError, UsageError
from cxr_max.evaluation.types import Sample

CACHED_IMAGES = 16
"""Decoded images kept: the questions about one image follow each other."""
_PER_TOKEN = ("attention_mask", "mm_token_type_ids", "token_type_ids")


class Encoded(NamedTuple):
    """One question as the model reads it.

    Attributes:
        ids_P: token ids of the prompt, with the images' placeholders in their full number.
        per_token: further values per token, [P] each.
        pixels: what the images give, first dimension over images or patches.
    """

    ids_P: Tensor
    per_token: dict[str, Tensor]
    pixels: dict[str, Tensor]


class Questions:
    """Writes questions for one model.

    Args:
        renderer: tokenizer, image processor or whole processor of the model.
        images: False leaves the images out: the text-only control.
    """

    def __init__(self, renderer: Renderer, *, images: bool = True) -> None:
        self.renderer, self.images = renderer, images
        self._load = lru_cache(CACHED_IMAGES)(self._prepare)

    def encode(self, sample: Sample) -> Encoded:
        """One question.

        Raises:
            DataError: an image cannot be read, or the question spells out a special token.
            UsageError: the question has images and the model reads none.
        """
        paths = sample.images if self.images else ()
        if any(token in sample.prompt for token in self.renderer.special_tokens):
            raise DataError("the question spells out a special token of the tokenizer")
        if paths and self.renderer.processor is None and self.renderer.image_processor is None:
            raise UsageError("the model reads no images", next="--model-args images=false asks without them")
        text, loaded = self._chat(sample.prompt, len(paths)), [self._load(p) for p in paths]
        if self.renderer.processor is not None:
            return self._by_processor(text, loaded)
        ids_P = torch.tensor(self.renderer.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)
        if not loaded:
            return Encoded(ids_P, {}, {})
        pixels = {k: torch.cat([made[k] for made in loaded]) for k in loaded[0]}
        ids_P = self._expand(ids_P, pixels["image_grid_thw"])
        return Encoded(ids_P, {"mm_token_type_ids": (ids_P == self.renderer.image_token_id).long()}, pixels)

    def _prepare(self, path: Path) -> Any:
        """An image as the image processor makes it, or as it is for a whole processor."""
        try:
            image = self.renderer.read(path)
        except (DataError, OSError) as error:
            # The path of an image holds the patient and study, so it stays out of the reason.
            raise DataError("the image cannot be read") from error
        if self.renderer.processor is not None:
            return image
        return dict(self.renderer.image_processor(images=[image], return_tensors="pt"))

    def _chat(self, prompt: str, images: int) -> str:
        content: Any = [{"type": "image"}] * images + [{"type": "text", "text": prompt}]
        if self.renderer.processor is None and self.renderer.image_processor is None:
            # Templates of text models read a string.
            content = prompt
        messages = [{"role": "user", "content": content}]
        processor = self.renderer.processor
        who = processor if getattr(processor, "chat_template", None) else self.renderer.tokenizer
        return str(who.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _expand(self, ids_P: Tensor, grid_N3: Tensor) -> Tensor:
        placeholder = self.renderer.image_token_id
        here = (ids_P == placeholder).nonzero()[:, 0].tolist()
        if len(here) != len(grid_N3):
            raise DataError(f"the chat template wrote {len(here)} image placeholders for {len(grid_N3)} images")
        merged = self.renderer.image_processor.merge_size**2
        repeats_P = torch.ones_like(ids_P)
        repeats_P[here] = grid_N3.prod(-1) // merged
        return ids_P.repeat_interleave(repeats_P)

    def _by_processor(self, text: str, images: list[Any]) -> Encoded:
        given = {"images": images} if images else {}
        made = dict(self.renderer.processor(text=[text], add_special_tokens=False, return_tensors="pt", **given))
        ids_P = made.pop("input_ids")[0]
        per_token = {k: made.pop(k)[0] for k in _PER_TOKEN if k in made}
        per_token.pop("attention_mask", None)
        return Encoded(ids_P, per_token, {k: v for k, v in made.items() if isinstance(v, Tensor)})


def batch(encoded: Sequence[Encoded], *, pad: int, device: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """Left-padded inputs of a model's forward or `generate`.

    Args:
        encoded: questions.
        pad: id of the padding token; masked, so any valid id does.
        device: where the tensors go.
        dtype: of pixel values.
    """
    longest = max(len(e.ids_P) for e in encoded)
    inputs = {
        "input_ids": torch.stack([_left(e.ids_P, longest, pad) for e in encoded]),
        "attention_mask": torch.stack([_left(torch.ones_like(e.ids_P), longest, 0) for e in encoded]),
    }
    for name in {k for e in encoded for k in e.per_token}:
        rows = [e.per_token.get(name, torch.zeros_like(e.ids_P)) for e in encoded]
        inputs[name] = torch.stack([_left(r, longest, 0) for r in rows])
    for name in {k for e in encoded for k in e.pixels}:
        inputs[name] = torch.cat([e.pixels[name] for e in encoded if name in e.pixels])
    return {k: v.to(device, dtype) if v.is_floating_point() else v.to(device) for k, v in inputs.items()}


def extended(question: Encoded, ids: Sequence[int]) -> Encoded:
    """The question with the beginning of an answer behind it."""
    more = torch.tensor(ids, dtype=torch.long)
    per_token = {k: torch.cat([v, v.new_zeros(len(more))]) for k, v in question.per_token.items()}
    return Encoded(torch.cat([question.ids_P, more]), per_token, question.pixels)


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before is put back."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _left(row: Tensor, length: int, value: int) -> Tensor:
    return torch.nn.functional.pad(row, (length - len(row), 0), value=value)
