"""Attention over packed groups: one function for transformers' attention interface, three ways inside.

`tree`: each prefix by itself with a causal kernel, then its branches as a batch over prefix and own tokens, which
computes no masked pair of tokens but those inside a branch. `dense`: one call with the [S, S] mask. `flex`:
FlexAttention with a block mask, for GPUs. All three give what the unshared forward gives.

The function stays on the model once attached: gradient checkpointing calls it again in the backward pass. Without a
packed batch it is `sdpa`, so generation and evaluation go on as before.
"""

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cxr_max.align.pack import PackedBatch, Span, dense_mask, mask_mod
from cxr_max.errors import UsageError

NAME = "cxr_max_packed"
KINDS = ("tree", "dense", "flex")


class Tree(NamedTuple):
    """What `tree` needs at every layer: spans, and per span the mask of its branches [K, 1, T, P + T]."""

    spans: tuple[Span, ...]
    masks: tuple[Tensor, ...]


def attach(decoder: nn.Module) -> None:
    """Make a decoder's layers attend through this module. Safe to call again.

    Raises:
        UsageError: some layers attend in a window; a branch would have to be cut at the wrong place.
    """
    config: Any = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UsageError(
            f"layers of kinds {', '.join(sorted(kinds))}; prefix sharing allows full_attention only",
            next="score with naive_logps",
        )
    config._attn_implementation = NAME


def arguments(batch: PackedBatch, kind: str, device: torch.device) -> dict[str, Any]:
    """Keyword arguments for the decoder's forward that make it attend within branches.

    Raises:
        UsageError: an unknown kind.
    """
    if kind == "dense":
        return {"attention_mask": dense_mask(batch, device)}
    if kind == "tree":
        masks = tuple(branch_mask(span, device) for span in batch.spans)
        return {"attention_mask": None, "packed_tree": Tree(batch.spans, masks)}
    if kind == "flex":
        return {"attention_mask": block_mask(batch, device)}
    raise UsageError(f"attention {kind!r}; allowed: {', '.join(KINDS)}")


def block_mask(batch: PackedBatch, device: torch.device | str) -> BlockMask:
    """FlexAttention's block mask of a packed batch; blocks no token of which may be seen are skipped."""
    rows, length = batch.input_ids_LS.shape
    return create_block_mask(mask_mod(batch, device), rows, None, length, length, device=str(device))


def branch_mask(span: Span, device: torch.device | str) -> Tensor:
    """[K, 1, T, P + T] of bool: a branch's token sees the whole prefix and its own branch up to itself.

    Padding behind a short branch sees what it would see were it longer; its output is thrown away.
    """
    longest = max(span.branches)
    own = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
    seen = torch.cat([torch.ones(longest, span.prefix, dtype=torch.bool, device=device), own], dim=1)
    return seen.expand(len(span.branches), 1, -1, -1)


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """An attention function as transformers calls it.

    Args:
        module: the attention layer.
        query: [L, heads, S, head size].
        key: [L, key heads, S, head size].
        value: like key.
        attention_mask: dense mask, block mask, or None with `packed_tree` among the further arguments.
        **kwargs: `scaling`, `dropout`, `packed_tree`, and what other implementations read.

    Returns:
        [L, S, heads, head size], and None for the weights.
    """
    tree: Tree | None = kwargs.pop("packed_tree", None)
    if isinstance(attention_mask, BlockMask):
        output: tuple[Tensor, Tensor | None] = flex_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return output[0], None
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    options = {"dropout_p": kwargs.get("dropout") or 0.0, "scale": kwargs.get("scaling")}
    rows: list[list[Tensor]] = [[] for _ in range(query.shape[0])]
    for span, mask in zip(tree.spans, tree.masks, strict=True):
        here = slice(span.start, span.end)
        rows[span.row] += _group(
            query[span.row, :, here], key[span.row, :, here], value[span.row, :, here], span, mask, options
        )
    joined = [torch.cat(parts, dim=1) for parts in rows]
    padded = [functional.pad(x, (0, 0, 0, query.shape[2] - x.shape[1])) for x in joined]
    return torch.stack(padded).transpose(1, 2).contiguous(), None


def _group(
    query: Tensor, key: Tensor, value: Tensor, span: Span, mask: Tensor, options: dict[str, Any]
) -> list[Tensor]:
    """Attention of one group, [heads, P + all branches, head size] each, as parts of its output along the tokens."""

    def of_prefix(x: Tensor) -> Tensor:
        return x[None, :, : span.prefix]

    first = functional.scaled_dot_product_attention(
        of_prefix(query), of_prefix(key), of_prefix(value), is_causal=True, **options
    )[0]
    if torch.is_grad_enabled():
        # Each branch needs the prefix's keys and values beside its own; copied again in the backward pass, K copies
        # of the prefix per layer are never kept.
        rest = checkpoint(_branches, query, key, value, span, mask, options, use_reentrant=False)
    else:
        rest = _branches(query, key, value, span, mask, options)
    return [first, *(rest[k, :, :n] for k, n in enumerate(span.branches))]


def _branches(query: Tensor, key: Tensor, value: Tensor, span: Span, mask: Tensor, options: dict[str, Any]) -> Tensor:
    """The branches of a group as a batch, [K, heads, T, head size]."""
    ends, longest = list(itertools.accumulate(span.branches))[:-1], max(span.branches)

    def own(x: Tensor) -> Tensor:
        parts = torch.tensor_split(x[:, span.prefix :], ends, dim=1)
        return torch.stack([functional.pad(p, (0, 0, 0, longest - p.shape[1])) for p in parts])

    def seen(x: Tensor) -> Tensor:
        return torch.cat([x[None, :, : span.prefix].expand(len(span.branches), -1, -1, -1), own(x)], dim=2)

    return functional.scaled_dot_product_attention(own(query), seen(key), seen(value), attn_mask=mask, **options)


AttentionInterface.register(NAME, packed_attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
