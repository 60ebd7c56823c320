"""Packing: image and prompt once, all completions of the group as branches behind them.

A row of a packed batch is `prefix, completion 0, completion 1, ...` of one group, or of several groups one after the
other. A token sees the prefix of its group and the earlier tokens of its own branch, nothing else, and stands at the
position it would have were its completion the only one. So each branch gets the log-probabilities it would get
alone, while the prefix goes through the model once instead of 1 + N times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cxr_max.align.types import RenderedGroup
from cxr_max.errors import DataError

LAYOUTS = ("flat", "rows")


@dataclass(frozen=True)
class Span:
    """Where a group lies: row, first token, length of its prefix, length of each branch."""

    row: int
    start: int
    prefix: int
    branches: tuple[int, ...]

    @property
    def end(self) -> int:
        """Place after the last token."""
        return self.start + self.prefix + sum(self.branches)


@dataclass(frozen=True)
class PackedBatch:
    """Groups in packed rows.

    Attributes:
        groups: what was packed, in order; group g lies where `spans[g]` says.
        spans: one per group.
        input_ids_LS: token ids, right-padded with `pad_id`.
        group_LS: index of the group a token belongs to, -1 at padding.
        branch_LS: 0 in a prefix, k + 1 in completion k, -1 at padding.
        row_M, source_M: row and place of the token whose hidden state predicts a scored token; for the first token
            of every branch that is the last of the prefix.
        target_M: id of the scored token.
        group_M, column_M, place_M: where the result goes, [group, column, token of the completion].
    """

    groups: tuple[RenderedGroup, ...]
    spans: tuple[Span, ...]
    input_ids_LS: Tensor
    group_LS: Tensor
    branch_LS: Tensor
    row_M: Tensor
    source_M: Tensor
    target_M: Tensor
    group_M: Tensor
    column_M: Tensor
    place_M: Tensor

    @property
    def shape_BKT(self) -> tuple[int, int, int]:
        """Groups, most completions of a group, most tokens of a completion."""
        k = max(len(g.completion_ids) for g in self.groups)
        return len(self.groups), k, max(len(ids) for g in self.groups for ids in g.completion_ids)

    @property
    def n_tokens(self) -> int:
        """Tokens that go through the model, without padding."""
        return int((self.group_LS >= 0).sum())

    @property
    def n_tokens_unshared(self) -> int:
        """Tokens that would go through it were every completion a sequence of its own."""
        return sum(s.prefix * len(s.branches) + sum(s.branches) for s in self.spans)


def pack(
    groups: Sequence[RenderedGroup], *, layout: str = "flat", pad_id: int = 0, multiple_of: int = 1
) -> PackedBatch:
    """Pack groups.

    Args:
        groups: at least one.
        layout: `flat`, all groups in one row without padding, for attention that skips what a token cannot see;
            `rows`, one group a row, padded to the longest, for dense masks.
        pad_id: id at padding; its value reaches no result.
        multiple_of: rows are padded to a multiple of this; FlexAttention compiles for fewer lengths with 128.

    Raises:
        DataError: no group, an unknown layout, or groups with nothing to score.
    """
    if not groups or layout not in LAYOUTS:
        raise DataError(f"{len(groups)} groups and layout {layout!r}; allowed: 1 and more, {' or '.join(LAYOUTS)}")
    spans: list[Span] = []
    for i, g in enumerate(groups):
        row, start = (i, 0) if layout == "rows" else (0, spans[-1].end if spans else 0)
        spans.append(Span(row, start, len(g.prefix_ids_P), tuple(len(c) for c in g.completion_ids)))
    shape = spans[-1].row + 1, -(-max(s.end for s in spans) // multiple_of) * multiple_of
    ids = torch.full(shape, pad_id, dtype=torch.long)
    group, branch = torch.full(shape, -1), torch.full(shape, -1)
    scored: list[Tensor] = []
    for i, (g, span) in enumerate(zip(groups, spans, strict=True)):
        ids[span.row, span.start : span.end] = torch.cat([g.prefix_ids_P, *g.completion_ids])
        group[span.row, span.start : span.end] = i
        lengths = torch.tensor([span.prefix, *span.branches])
        branch[span.row, span.start : span.end] = torch.arange(len(lengths)).repeat_interleave(lengths)
        scored.extend(_scored(i, g, span))
    table = torch.cat(scored, dim=1)
    if not table.shape[1]:
        raise DataError("the batch has no token to score")
    return PackedBatch(tuple(groups), tuple(spans), ids, group, branch, *table.unbind(0))


def _scored(index: int, group: RenderedGroup, span: Span) -> list[Tensor]:
    """Per column a [6, m] table: row, source, target, group, column, place."""
    tables = []
    start = span.start + span.prefix
    for column, (ids, on) in enumerate(zip(group.completion_ids, group.scored, strict=True)):
        place = on.nonzero()[:, 0]
        source = torch.where(place > 0, start + place - 1, span.start + span.prefix - 1)
        fixed = [torch.full_like(place, value) for value in (span.row, index, column)]
        tables.append(torch.stack([fixed[0], source, ids[place], fixed[1], fixed[2], place]))
        start += len(ids)
    return tables


def mask_mod(
    batch: PackedBatch, device: torch.device | str = "cpu"
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Who sees whom, as FlexAttention's `create_block_mask` wants it: (row, head, query, key) to bool.

    Padding sees padding before it, so that no row of attention is empty.
    """
    group_LS, branch_LS = batch.group_LS.to(device), batch.branch_LS.to(device)

    def sees(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_group = group_LS[row, query] == group_LS[row, key]
        branch = branch_LS[row, key]
        return of_group & (key <= query) & ((branch == 0) | (branch == branch_LS[row, query]))

    return sees


def dense_mask(batch: PackedBatch, device: torch.device | str = "cpu") -> Tensor:
    """The same as a [L, 1, S, S] mask of bool for `scaled_dot_product_attention`, True where a query sees a key."""
    rows, length = batch.input_ids_LS.shape
    place = torch.arange(length, device=device)
    row = torch.arange(rows, device=device)[:, None, None]
    return mask_mod(batch, device)(row, row, place[:, None], place[None, :])[:, None]


def positions(batch: PackedBatch, prefix_positions: Sequence[Tensor]) -> Tensor:
    """Position ids of every token, [C, L, S] for the C coordinates of the model's rotary embedding (1, or mRoPE's 3).

    Args:
        batch: packed groups.
        prefix_positions: per group a [C, P] tensor. Every branch goes on from the largest coordinate of its prefix,
            so branches of a group share their positions.
    """
    coordinates = prefix_positions[0].shape[0]
    out = torch.zeros((coordinates, *batch.input_ids_LS.shape), dtype=torch.long)
    for span, prefix_CP in zip(batch.spans, prefix_positions, strict=True):
        first = int(prefix_CP.max()) + 1
        tails = [torch.arange(first, first + n).expand(coordinates, -1) for n in span.branches]
        out[:, span.row, span.start : span.end] = torch.cat([prefix_CP, *tails], dim=1)
    return out
