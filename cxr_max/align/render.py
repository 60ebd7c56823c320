"""Groups of text to token ids and pixels, by the model's own tokenizer, chat template and image processor.

Tokenizer and image processor are put together here: the processors of several vision-language models cannot be built
without torchvision, which is needed for videos alone. A whole processor is taken as well.

Labels are the completion's tokens and the token that ends the turn, nothing else: not the prompt, not the image's
placeholders, not padding. A text of the data is never read for special tokens: a trajectory that spells out
`<|im_end|>` stays text.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer

from cxr_max.align import templates
from cxr_max.align.losses import check_choice
from cxr_max.align.types import PreferenceGroup, RenderedGroup
from cxr_max.errors import DataError, UsageError
from cxr_max.mimic.images import read_image

ANSWER_LOSSES = ("chosen", "all", "none")
_PROBE = "cxr-max"
_NOT_PIXELS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")

Segmenter = Callable[[str], Sequence[Any]]
"""Text to steps with `start` and `end`, characters of the text: `findings.segment`."""


class Rendered(NamedTuple):
    """Rendered groups, and what became of the others.

    Attributes:
        groups: in the order they came.
        dropped: reason to number of groups.
        truncated: completions that were cut.
    """

    groups: tuple[RenderedGroup, ...]
    dropped: dict[str, int]
    truncated: int


@dataclass(frozen=True)
class Renderer:
    """Writes groups for one model.

    Attributes:
        tokenizer: of the model, with its chat template.
        template: `rationale` or `diagnose`; see `templates`.
        image_processor: of the model; its `merge_size` tells how many patches make a token. None for text alone.
        processor: a whole processor, for models whose placeholders follow other rules; takes precedence.
        answer_loss: whether tokens of the printed diagnoses, and the end of the turn behind them, are scored:
            of the `chosen` completion only (a negative's diagnoses may be right, and its turn has to end there);
            of `all`, as supervised training wants; of `none`.
        max_completion: most tokens of a completion; longer ones are cut at the end and counted. None cuts nothing.
        segment: how trajectories fall into steps, where a method needs them.
    """

    tokenizer: Any
    template: str
    image_processor: Any = None
    processor: Any = None
    answer_loss: str = "chosen"
    max_completion: int | None = None
    segment: Segmenter | None = None
    read: Callable[[Path], Image.Image] = read_image

    def __post_init__(self) -> None:
        templates.get(self.template)
        check_choice("answer_loss", self.answer_loss, ANSWER_LOSSES)
        if self.max_completion is not None and self.max_completion < 1:
            raise UsageError(f"max_completion {self.max_completion}; allowed: 1 and above")

    def render(self, group: PreferenceGroup) -> RenderedGroup:
        """One group.

        Raises:
            DataError: a question spells out a special token, or the image cannot be read.
        """
        prefix_P, pixels = self._prefix(group)
        cut = [self._completion(group, k) for k in range(len(group.completions))]
        return RenderedGroup(
            instance_id=group.instance_id,
            prefix_ids_P=prefix_P,
            completion_ids=tuple(c.ids_T for c in cut),
            scored=tuple(c.scored_T for c in cut),
            sources=group.sources,
            weights=group.weights,
            steps=tuple(c.step_T for c in cut) if self.segment is not None else None,
            pixels=pixels,
            image_key=_hash(pixels) if pixels else "",
            n_truncated=sum(c.truncated for c in cut),
        )

    def render_all(self, groups: Iterable[PreferenceGroup], *, preference: bool = True) -> Rendered:
        """All groups; those that cannot be used are dropped and counted by reason.

        Args:
            groups: any number.
            preference: whether a group needs a negative; False for supervised training.
        """
        kept: list[RenderedGroup] = []
        dropped: Counter[str] = Counter()
        for group in groups:
            if preference and not group.n_negatives:
                dropped["no_negative"] += 1
                continue
            try:
                rendered = self.render(group)
            except DataError as error:
                dropped[error.problem] += 1
                continue
            if not any(bool(s.any()) for s in rendered.scored):
                dropped["nothing_to_score"] += 1
            else:
                kept.append(rendered)
        return Rendered(tuple(kept), dict(dropped), sum(g.n_truncated for g in kept))

    def prefix(self, group: PreferenceGroup) -> tuple[Tensor, dict[str, Tensor]]:
        """A group's question alone: token ids up to the answer's turn, and pixels; errors as of `render`."""
        return self._prefix(group)

    def _prefix(self, group: PreferenceGroup) -> tuple[Tensor, dict[str, Tensor]]:
        question = templates.get(self.template).question(group)
        if any(token in question for token in self.special_tokens):
            raise DataError("the question spells out a special token of the tokenizer")
        text = self._chat(question, group.image is not None)
        if group.image is None:
            return _ids(self.tokenizer(text, add_special_tokens=False)), {}
        try:
            image = self.read(Path(group.image))
        except (DataError, OSError) as error:
            # The path of an image holds the patient and study, so it stays out of the reason.
            raise DataError("the image cannot be read") from error
        if self.processor is not None:
            made = self.processor(text=[text], images=[image], add_special_tokens=False, return_tensors="pt")
            return made["input_ids"][0], {k: v for k, v in made.items() if k not in _NOT_PIXELS}
        if self.image_processor is None:
            raise UsageError("a group has an image and the renderer no image processor")
        made = dict(self.image_processor(images=[image], return_tensors="pt"))
        ids_P = _ids(self.tokenizer(text, add_special_tokens=False))
        here = (ids_P == self.image_token_id).nonzero()[:, 0]
        if len(here) != 1:
            raise DataError(f"the chat template wrote {len(here)} image placeholders for one image")
        n = int(made["image_grid_thw"][0].prod()) // self.image_processor.merge_size**2
        return torch.cat([ids_P[: here[0]], ids_P[here].expand(n), ids_P[here[0] + 1 :]]), made

    def _completion(self, group: PreferenceGroup, column: int) -> "_Completion":
        written = templates.get(self.template).completion(group, column)
        coded = self.tokenizer(
            written.text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        ids_T = torch.cat([_ids(coded), self.closing_ids])
        # A token belongs to where it ends: leading blanks are part of the token that follows them.
        end = torch.tensor([e for _, e in coded["offset_mapping"]] + [len(written.text) + 1] * len(self.closing_ids))
        scored_T = torch.ones(len(ids_T), dtype=torch.bool)
        if written.answer_start is not None and not self._scores_answer(column):
            scored_T = end <= written.answer_start
        step_T = torch.full((len(ids_T),), -1)
        for i, step in enumerate(self.segment(group.completions[column]) if self.segment is not None else ()):
            last = end - 1 - written.trajectory_start
            step_T[(last >= step.start) & (last < step.end)] = i
        most = len(ids_T) if self.max_completion is None else self.max_completion
        return _Completion(ids_T[:most], scored_T[:most], step_T[:most], len(ids_T) > most)

    def _scores_answer(self, column: int) -> bool:
        return self.answer_loss == "all" or (self.answer_loss == "chosen" and column == 0)

    def _chat(self, question: str, image: bool, answer: str | None = None) -> str:
        content: Any = [{"type": "image"}] * image + [{"type": "text", "text": question}]
        if not image and self.processor is None and self.image_processor is None:
            # Templates of text models read a string.
            content = question
        messages = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        who = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        return str(who.apply_chat_template(messages, add_generation_prompt=answer is None, tokenize=False))

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Every token the tokenizer marks as special; `all_special_tokens` lists only those with a role."""
        added = [t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special]
        return tuple({*added, *self.tokenizer.all_special_tokens})

    @cached_property
    def closing_ids(self) -> Tensor:
        """Ids that end the assistant's turn, up to and with the end-of-text token.

        Raises:
            DataError: the tokenizer has no end-of-text token, or it is no single token.
        """
        eos = self.tokenizer.eos_token
        if not eos:
            raise DataError("the tokenizer has no end-of-text token")
        _, found, rest = self._chat(_PROBE, False, _PROBE * 2).rpartition(_PROBE * 2)
        text = rest[: rest.index(eos) + len(eos)] if found and eos in rest else eos
        ids = _ids(self.tokenizer(text, add_special_tokens=False))
        if int(ids[-1]) != self.tokenizer.eos_token_id:
            raise DataError("the tokenizer splits its own end-of-text token")
        return ids

    @cached_property
    def image_token_id(self) -> int:
        """Id of the image placeholder.

        Raises:
            DataError: the tokenizer names none.
        """
        for owner in (self.processor, self.tokenizer):
            if getattr(owner, "image_token_id", None) is not None:
                return int(owner.image_token_id)
        found: int = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        if found is None or found == self.tokenizer.unk_token_id:
            raise DataError("the tokenizer has no image placeholder", next="pass the model's whole processor")
        return found

    def check(self, config: Any) -> None:
        """Raise when tokenizer and model give the same special token different ids.

        A tokenizer built from a vocabulary and merges may hand out ids of added tokens in another order, silently:
        `<|im_end|>` and `<|endoftext|>` of Qwen2.5 come out swapped.

        Args:
            config: of the model.

        Raises:
            DataError: naming the tokens.
        """
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        eos = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
        wanted: dict[str, list[Any]] = {str(self.tokenizer.eos_token): eos}
        for name, token in _SPELLED.items():
            if getattr(config, name, None) is not None and token in self.tokenizer.get_vocab():
                wanted[token] = [getattr(config, name)]
        wrong = [t for t, ids in wanted.items() if ids != [None] and self.tokenizer.convert_tokens_to_ids(t) not in ids]
        if wrong:
            raise DataError(
                f"tokenizer and model disagree on the id of {', '.join(wrong)}",
                next="load both from one checkpoint; build no tokenizer from vocabulary and merges",
            )


_SPELLED = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
"""How models of the Qwen-VL family spell what their configuration names; read where the tokenizer has it."""


class _Completion(NamedTuple):
    ids_T: Tensor
    scored_T: Tensor
    step_T: Tensor
    truncated: bool


def from_pretrained(folder: str | Path, template: str, **settings: Any) -> Renderer:
    """A renderer from a model's folder, without torchvision.

    The image processor is always the one on Pillow: the two backends round differently, and log-probabilities would
    depend on what happens to be installed.

    Args:
        folder: of the model, or its name on a hub.
        template: `rationale` or `diagnose`.
        **settings: of `Renderer`; `min_pixels` and `max_pixels` go to the image processor.
    """
    limits = {k: settings.pop(k) for k in ("min_pixels", "max_pixels") if k in settings}
    image_processors: Any = AutoImageProcessor
    return Renderer(
        tokenizer=AutoTokenizer.from_pretrained(folder),
        template=template,
        image_processor=image_processors.from_pretrained(folder, backend="pil", **limits),
        **settings,
    )


def _ids(coded: Any) -> Tensor:
    return torch.tensor(coded["input_ids"], dtype=torch.long)


def _hash(pixels: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(pixels.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
