"""Before work starts: checks that would otherwise fail an hour later, and what the run will take.

Time is measured on one micro-batch of usual length, forward and backward; memory is an estimate from shapes.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cxr_max.align.config import TrainConfig
from cxr_max.align.logprobs import LOGITS_BYTES
from cxr_max.align.pack import PackedBatch, pack
from cxr_max.align.render import Renderer
from cxr_max.align.trainer import fitted
from cxr_max.align.types import PreferenceGroup, RenderedGroup
from cxr_max.errors import DataError, UsageError
from cxr_max.optional import require

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What a stage will take.

    Attributes:
        groups: to train on.
        steps: optimizer steps.
        tokens_per_group, tokens_unshared: mean tokens through the model with the prefix shared, and without.
        image_tokens: most of a sampled image.
        longest: tokens of the longest sampled prompt, image and completion.
        parameters, trainable: weights.
        flop: of the whole stage; see `Work`.
        memory_bytes: estimate of what the run needs beyond what is in use before it.
        available_bytes: free on the device; 0 when not known.
        seconds: projected; 0 when it was not measured.
    """

    groups: int
    steps: int
    tokens_per_group: float
    tokens_unshared: float
    image_tokens: int
    longest: int
    parameters: int
    trainable: int
    flop: float
    memory_bytes: int
    available_bytes: int
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The plan in words."""
        time_ = f"about {_duration(self.seconds)}" if self.seconds else "not measured with several processes"
        free = f", {self.available_bytes / GIB:.1f} GiB are free" if self.available_bytes else ""
        return [
            f"{self.groups:,} groups, {self.steps:,} steps; {self.parameters / 1e6:,.1f} M weights, "
            f"{self.trainable / 1e6:,.1f} M of them train",
            f"{self.tokens_per_group:,.0f} tokens a group (without sharing {self.tokens_unshared:,.0f}), images up to "
            f"{self.image_tokens:,} tokens, longest sequence {self.longest:,}",
            f"projected time: {time_}; memory: about {self.memory_bytes / GIB:.2f} GiB{free}",
        ]

    def plain(self) -> dict[str, Any]:
        """As data."""
        return asdict(self)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def sample(renderer: Renderer, groups: Sequence[PreferenceGroup], longest: int, n: int = 8) -> list[RenderedGroup]:
    """Up to n groups, evenly over the data, as they will be trained on.

    Raises:
        DataError: prompt and image of one exceed the length, or none can be rendered; the first reason is given.
    """
    kept, reasons = [], []
    for group in groups[:: max(1, len(groups) // n)][:n]:
        try:
            rendered = renderer.render(group)
        except DataError as error:
            reasons.append(error.problem)
            continue
        kept.append(fitted(rendered, longest))
    if not kept:
        raise DataError(f"no group can be rendered: {reasons[0]}", next="see the image files under the roots")
    return kept


def check_match(model: Any, renderer: Renderer, *, images: bool) -> None:
    """Raise when model, tokenizer and image processor do not belong together.

    Raises:
        DataError: ids beyond the embedding, special tokens with other ids, patches of another size.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    rows = int(inner.get_input_embeddings().weight.shape[0])
    if len(renderer.tokenizer) > rows:
        raise DataError(
            f"the tokenizer has {len(renderer.tokenizer):,} entries, the model's embedding {rows:,} rows",
            next="load both from one checkpoint",
        )
    renderer.check(inner.config)
    vision = getattr(inner.config, "vision_config", None)
    if not images:
        return
    if vision is None or renderer.image_processor is None:
        raise DataError("the model has no vision tower, and there are images", next="images=false trains on text")
    pairs = (("patch_size", "patch_size"), ("merge_size", "spatial_merge_size"), ("temporal_patch_size",) * 2)
    for name, theirs in pairs:
        mine, wanted = getattr(renderer.image_processor, name, None), getattr(vision, theirs, None)
        if mine is not None and wanted is not None and int(mine) != int(wanted):
            raise DataError(
                f"the image processor has {name} {mine}, the model's vision tower {theirs} {wanted}",
                next="load both from one checkpoint",
            )


def max_length(config: TrainConfig, model: Any) -> int:
    """Tokens a sequence may have: as configured, else what the model's positions reach."""
    text = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    most = int(getattr(text, "max_position_embeddings", 0) or 2**20)
    if config.max_length is not None and config.max_length > most:
        raise UsageError(f"max_length {config.max_length}; the model's positions reach {most}")
    return config.max_length or most


class Work:
    """Floating point operations of a training step on a batch, products alone.

    2 per weight and token forward through the text model, its projection at scored tokens alone; attention 4 * hidden
    a pair of tokens and layer; the vision tower 2 per weight and patch. Backward costs the same again for activations,
    and once more for weights that train. A reference forward and recomputation add one forward each.

    Args:
        model: as the optimizer sees it.
        reference: whether every batch needs a reference forward, as in a first epoch.
        recomputed: gradient checkpointing.
    """

    def __init__(self, model: Any, *, reference: bool, recomputed: bool) -> None:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        decoder, head = inner.get_decoder(), inner.get_output_embeddings()
        embed = inner.get_input_embeddings()
        text = inner.config.get_text_config() if hasattr(inner.config, "get_text_config") else inner.config
        of_text = {id(p) for m in (decoder, head, embed) for p in m.parameters()}
        outside = {id(p) for m in (head, embed) for p in m.parameters()}
        tower = [p for p in inner.parameters() if p.ndim > 1 and id(p) not in of_text]
        body = [p for p in decoder.parameters() if p.ndim > 1 and id(p) not in outside]
        adapter = {id(p) for n, p in model.named_parameters() if "lora_" in n}
        trained = any(p.requires_grad and id(p) not in adapter for p in body)
        self._body: int = sum(p.numel() for p in body)
        self._head = int(head.weight.numel())
        self._tower: int = sum(p.numel() for p in tower) * (3 if any(p.requires_grad for p in tower) else 1)
        self._attention = 4.0 * text.hidden_size * text.num_hidden_layers
        self._passes = 2 + trained + reference + recomputed

    def flop(self, batch: PackedBatch) -> float:
        """Of one batch."""
        pairs = sum(s.prefix**2 // 2 + sum(n * s.prefix + n * n // 2 for n in s.branches) for s in batch.spans)
        forward = 2.0 * (self._body * batch.n_tokens + self._head * len(batch.target_M)) + self._attention * pairs
        patches = sum(int(g.pixels["pixel_values"].shape[0]) for g in batch.groups if "pixel_values" in g.pixels)
        return float(forward * self._passes + 2.0 * self._tower * patches)


def memory_of(model: Any, batch: PackedBatch, config: TrainConfig) -> int:
    """Bytes a run needs beyond the weights (the reference's too) already in memory: an estimate, some 30 % either way.

    Gradients, two moments of AdamW, and activations of the batch: with gradient checkpointing one hidden state a layer
    and the inside of one, without it all of them.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    text = inner.config.get_text_config() if hasattr(inner.config, "get_text_config") else inner.config
    trained = [p for p in model.parameters() if p.requires_grad]
    state = sum(p.numel() * (p.element_size() + 8) for p in trained)
    width = 2 if config.model.dtype == "bfloat16" or config.trainer.get("bf16") else 4
    layer = (10 * text.hidden_size + 4 * getattr(text, "intermediate_size", 4 * text.hidden_size)) * width
    kept = text.hidden_size * width * text.num_hidden_layers + layer
    inside = kept if config.gradient_checkpointing else layer * text.num_hidden_layers
    return int(state + batch.n_tokens * inside + 4 * LOGITS_BYTES)


def available_bytes(device: torch.device) -> int:
    """Free memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(require("psutil", extra="train").virtual_memory().available)


def check_memory(plan: Plan) -> None:
    """Raise when the estimate exceeds what is free.

    Raises:
        UsageError: it does.
    """
    if plan.available_bytes and plan.memory_bytes > plan.available_bytes:
        raise UsageError(
            f"the run needs about {plan.memory_bytes / GIB:.1f} GiB by estimate, {plan.available_bytes / GIB:.1f} GiB "
            "are free",
            next="lower micro_groups or max_pixels, train an adapter, or set gradient_checkpointing; "
            "check_memory=false goes on regardless",
        )


def measure(trainer: Any, groups: Sequence[RenderedGroup]) -> float:
    """Seconds a token takes, forward and backward, on a micro-batch of usual length; leaves no trace in the run."""
    ordered = sorted(groups, key=lambda g: sum(map(len, g.completion_ids)))
    batch = pack([ordered[len(ordered) // 2]])
    model = trainer.model
    model.train()
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        start = time.perf_counter()
        group = model(batch)
        if "reference" in trainer.method.needs:
            trainer.reference(model, batch)
        group.policy_BK.sum().backward()
        if devices:
            torch.cuda.synchronize(devices[0])
        seconds = time.perf_counter() - start
    model.zero_grad(set_to_none=True)
    return seconds / batch.n_tokens
