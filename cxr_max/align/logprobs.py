"""Group log-probabilities: with the prefix shared, and, as its independent check, without."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from cxr_max.align import attention as packed_attention
from cxr_max.align.features import FeatureStore, image_features, scatter
from cxr_max.align.pack import PackedBatch, pack, positions
from cxr_max.align.types import GroupLogps, RenderedGroup
from cxr_max.errors import CheckFailedError, DataError, UsageError

LOGITS_BYTES = 64 * 2**20
"""Memory for one chunk of float32 logits; a chunk this large keeps matrix products efficient on CPU and GPU."""


def unwrap(model: Any) -> Any:
    """The transformers model inside a PEFT model, with the adapter's layers in place; others as they are.

    Raises:
        UsageError: the adapter is made of virtual tokens, which stand in no layer.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise UsageError("the adapter is made of virtual tokens; allowed: adapters inside layers, such as LoRA")
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def packed_logps(
    model: Any,
    batch: PackedBatch,
    *,
    attention: str = "auto",
    store: FeatureStore | None = None,
    logits_bytes: int = LOGITS_BYTES,
    statistics: bool = False,
) -> GroupLogps:
    """Log-probabilities of every completion, each prefix and image going through the model once.

    Equal to `naive_logps` up to rounding, in value and gradient, for dense decoders; also under gradient
    checkpointing and with LoRA. Dropout, when a model has any, draws once for the prefix instead of once per branch.

    Args:
        model: a transformers causal or image-text model, or a PEFT model around one.
        batch: packed groups.
        attention: `tree`, `dense`, `flex`, or `auto`: `flex` on CUDA, `tree` elsewhere.
        store: image features computed before, for a frozen vision tower.
        logits_bytes: how much memory a chunk of float32 logits may take; `[M, V]` is never whole in memory.
        statistics: also entropy, top-1 hits and mean logits of every scored token, for monitoring.

    Raises:
        UsageError: an unknown kind of attention, or a model with sliding windows.
        DataError: the image tokens do not match the image features.
    """
    inner = unwrap(model)
    decoder, embed = inner.get_decoder(), inner.get_input_embeddings()
    device = embed.weight.device
    if attention == "auto":
        attention = "flex" if device.type == "cuda" else "tree"
    packed_attention.attach(decoder)
    ids_LS = batch.input_ids_LS.to(device)
    hidden_LSD = embed(ids_LS)
    features = image_features(inner, batch.groups, store)
    if features:
        hidden_LSD = scatter(hidden_LSD, ids_LS, features, image_token_id(inner))
    position_CLS = positions(batch, [prefix_positions(inner, g) for g in batch.groups]).to(device)
    hidden_LSD = decoder(
        inputs_embeds=hidden_LSD,
        position_ids=position_CLS if position_CLS.shape[0] > 1 else position_CLS[0],
        use_cache=False,
        **packed_attention.arguments(batch, attention, device),
    ).last_hidden_state
    hidden_MD = hidden_LSD[batch.row_M.to(device), batch.source_M.to(device)]
    seen: list[Tensor] | None = [] if statistics else None
    logp_M = token_logps(
        inner.get_output_embeddings(), hidden_MD, batch.target_M.to(device), logits_bytes=logits_bytes, seen=seen
    )
    place = tuple(x.to(device) for x in (batch.group_M, batch.column_M, batch.place_M))
    blank_BKT = torch.zeros(batch.shape_BKT, device=device)
    group = _as_group(batch.groups, blank_BKT.index_put(place, logp_M))
    if not seen:
        return group
    entropy, top1, mean_logit = (blank_BKT.index_put(place, x_M) for x_M in torch.cat(seen, dim=1))
    return replace(group, entropy_BKT=entropy, top1_BKT=top1 > 0, mean_logit_BKT=mean_logit)


def naive_logps(model: Any, groups: PackedBatch | Sequence[RenderedGroup]) -> GroupLogps:
    """The same, by the model's own forward on every completion with its own copy of prompt and image, one at a time.

    Slow, and written to share nothing with `packed_logps`: logits are whole, positions and masks are the model's.
    """
    groups = groups.groups if isinstance(groups, PackedBatch) else tuple(groups)
    inner = unwrap(model)
    device = inner.get_input_embeddings().weight.device
    rows: list[Tensor] = []
    for g in groups:
        columns = []
        for ids_T, on_T in zip(g.completion_ids, g.scored, strict=True):
            row_1S = torch.cat([g.prefix_ids_P, ids_T])[None].to(device)
            extra = {k: v.to(device) for k, v in g.pixels.items()}
            if g.image_key and hasattr(getattr(inner, "model", inner), "get_rope_index"):
                extra["mm_token_type_ids"] = (row_1S == image_token_id(inner)).int()
            logits = model(input_ids=row_1S, attention_mask=torch.ones_like(row_1S), use_cache=False, **extra).logits
            logp = logits[0, len(g.prefix_ids_P) - 1 : -1].float().log_softmax(-1)
            columns.append(logp.gather(-1, ids_T.to(device)[:, None])[:, 0] * on_T.to(device))
        rows.append(pad_sequence(columns, batch_first=True))
    k, t = max(r.shape[0] for r in rows), max(r.shape[1] for r in rows)
    token_BKT = torch.stack([functional.pad(r, (0, t - r.shape[1], 0, k - r.shape[0])) for r in rows])
    return _as_group(groups, token_BKT)


def verify_exact(
    model: Any, groups: Sequence[RenderedGroup], *, attention: str = "auto", tolerance: float = 1e-3
) -> float:
    """Score groups with and without sharing; call it once on a few groups before training a model for the first time.

    Prefix sharing is exact for decoders whose tokens attend causally and whose output is a plain projection. A model
    that lets image tokens see ahead, caps its logits or feeds images in elsewhere fails here instead of training on
    wrong numbers.

    Args:
        model: as for `packed_logps`.
        groups: a few groups.
        attention: as for `packed_logps`.
        tolerance: largest difference allowed, in nats per token; bfloat16 needs some 0.05.

    Returns:
        The largest difference.

    Raises:
        CheckFailedError: it is above the tolerance.
    """
    with torch.no_grad():
        packed = packed_logps(model, pack(groups), attention=attention).token_policy_BKT
        naive = naive_logps(model, groups).token_policy_BKT
    assert packed is not None
    assert naive is not None
    apart = float((packed - naive).abs().max())
    if not apart <= tolerance:
        raise CheckFailedError(
            f"packed and unshared log-probabilities of {type(unwrap(model)).__name__} differ by {apart:.3g} nats per "
            f"token; allowed: {tolerance:g}",
            next="score this model with naive_logps",
        )
    return apart


def token_logps(
    head: Any,
    hidden_MD: Tensor,
    target_M: Tensor,
    *,
    logits_bytes: int = LOGITS_BYTES,
    seen: list[Tensor] | None = None,
) -> Tensor:
    """log-softmax of the vocabulary projection at the targets, [M] in float32.

    In chunks of R rows; a chunk's logits live in its forward and are computed again in its backward, so memory holds
    [R, V] once instead of [M, V] several times over.

    Args:
        head: the vocabulary projection, [.., D] to [.., V]; an adapter inside it is honoured.
        hidden_MD: last hidden states.
        target_M: token ids.
        logits_bytes: memory for one chunk of float32 logits.
        seen: takes a [3, R] tensor per chunk: entropy, whether the target is the likeliest token, mean logit.
    """
    vocabulary = int(head.weight.shape[0])
    rows = max(1, logits_bytes // (4 * vocabulary))
    parts = []
    for i, (hidden_RD, target_R) in enumerate(zip(_rows(hidden_MD, rows), _rows(target_M, rows), strict=True)):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk, head, hidden_RD, target_R, seen, i, use_reentrant=False))
        else:
            parts.append(_chunk(head, hidden_RD, target_R, seen, i))
    return torch.cat(parts)


def _rows(x: Tensor, n: int) -> tuple[Tensor, ...]:
    return torch.tensor_split(x, list(range(n, len(x), n)))


def _chunk(head: Any, hidden_RD: Tensor, target_R: Tensor, seen: list[Tensor] | None, index: int) -> Tensor:
    logits_RV: Tensor = head(hidden_RD).float()
    # The backward pass comes here again, and needs the statistics no second time.
    if seen is not None and len(seen) == index:
        with torch.no_grad():
            logp_RV = logits_RV.log_softmax(-1)
            entropy_R = -(logp_RV.exp() * logp_RV).sum(-1)
            seen.append(torch.stack([entropy_R, (logits_RV.argmax(-1) == target_R).float(), logits_RV.mean(-1)]))
    return -functional.cross_entropy(logits_RV, target_R, reduction="none")


def image_token_id(model: Any) -> int:
    """Id of the image placeholder.

    Raises:
        UsageError: the model's configuration names none.
    """
    for name in ("image_token_id", "image_token_index"):
        value = getattr(model.config, name, None)
        if value is not None:
            return int(value)
    raise UsageError("the model's configuration names no image token", next="use a model that reads images")


def prefix_positions(model: Any, group: RenderedGroup) -> Tensor:
    """Position ids of a group's prefix, [C, P]: the model's own for images (mRoPE, C = 3), else 0, 1, 2 ... (C = 1)."""
    ids_1P = group.prefix_ids_P[None]
    owner = getattr(model, "model", model)
    if not group.image_key or not hasattr(owner, "get_rope_index"):
        n = 3 if hasattr(owner, "get_rope_index") else 1
        return torch.arange(ids_1P.shape[1]).expand(n, -1)
    kind_1P = (ids_1P == image_token_id(model)).int()
    found: tuple[Tensor, Tensor] = owner.get_rope_index(ids_1P, kind_1P, image_grid_thw=group.pixels["image_grid_thw"])
    return found[0][:, 0]


def _as_group(groups: Sequence[RenderedGroup], token_BKT: Tensor) -> GroupLogps:
    """Everything a loss reads that does not depend on the model, beside the log-probabilities."""
    device = token_BKT.device
    names = tuple(sorted({s for g in groups for s in g.sources}))
    scored_BKT = torch.zeros(token_BKT.shape, dtype=torch.bool)
    step_BKT = torch.full(token_BKT.shape, -1)
    mask_BK = torch.zeros(token_BKT.shape[:2], dtype=torch.bool)
    teacher_BK = torch.full(token_BKT.shape[:2], -1)
    log_w_BK = torch.zeros(token_BKT.shape[:2])
    for i, g in enumerate(groups):
        for k, on_T in enumerate(g.scored):
            scored_BKT[i, k, : len(on_T)] = on_T
            mask_BK[i, k] = bool(on_T.any())
            teacher_BK[i, k] = names.index(g.sources[k])
            if g.steps is not None:
                step_BKT[i, k, : len(on_T)] = g.steps[k]
        if g.weights is not None:
            log_w_BK[i, 1 : len(g.scored)] = torch.tensor(g.weights).log()
    if token_BKT.shape[-1] != scored_BKT.shape[-1]:
        raise DataError("token log-probabilities and score marks differ in length")
    return GroupLogps(
        policy_BK=token_BKT.sum(-1),
        n_tokens_BK=scored_BKT.sum(-1).to(device),
        mask_BK=mask_BK.to(device),
        log_w_BK=log_w_BK.to(device) if any(g.weights is not None for g in groups) else None,
        teacher_BK=teacher_BK.to(device),
        token_policy_BKT=token_BKT,
        token_mask_BKT=scored_BKT.to(device),
        step_BKT=step_BKT.to(device) if any(g.steps is not None for g in groups) else None,
        teachers=names,
    )
