"""Packed rows: who sees whom, where each token stands, and that nothing is lost or mixed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.align import pack
from cxr_max.align.attention import block_mask
from cxr_max.errors import DataError
from tests.align.conftest import rendered

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3)


def slow_mask(batch: pack.PackedBatch) -> torch.Tensor:
    """Written from the definition: a token sees its group's prefix and the earlier tokens of its own branch."""
    rows, length = batch.input_ids_LS.shape
    out = torch.zeros(rows, 1, length, length, dtype=torch.bool)
    for span in batch.spans:
        owner = [0] * span.prefix + [b + 1 for b, n in enumerate(span.branches) for _ in range(n)]
        for q in range(len(owner)):
            for k in range(q + 1):
                out[span.row, 0, span.start + q, span.start + k] = owner[k] in (0, owner[q])
    return out


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.sampled_from(pack.LAYOUTS))
def test_masks_of_all_kinds_agree_with_the_definition(lengths: list[list[int]], layout: str) -> None:
    batch = pack.pack([rendered(n, grid=None, seed=i) for i, n in enumerate(lengths)], layout=layout)
    dense = pack.dense_mask(batch)
    real = (batch.group_LS >= 0)[:, None, :, None]
    assert torch.equal(dense & real, slow_mask(batch))
    assert bool(dense.diagonal(dim1=-2, dim2=-1).all()), "a row of attention without a key gives NaN"
    mod = pack.mask_mod(batch)
    row, q, k = torch.meshgrid(
        *(torch.arange(n) for n in (dense.shape[0], dense.shape[2], dense.shape[3])), indexing="ij"
    )
    assert torch.equal(mod(row, torch.zeros_like(row), q, k), dense[:, 0])


def test_block_mask_of_flex_attention_equals_the_dense_mask() -> None:
    """The blocks it lists are those with a visible pair, and its mask_mod evaluated densely is the 4-D mask."""
    batch = pack.pack(
        [rendered([190, 240, 130], question=120, seed=1), rendered([160, 300], question=50, seed=2)], layout="rows"
    )
    dense, blocks = pack.dense_mask(batch), block_mask(batch, "cpu")
    length = dense.shape[-1]
    rows, q, k = torch.meshgrid(torch.arange(2), torch.arange(length), torch.arange(length), indexing="ij")
    assert torch.equal(blocks.mask_mod(rows, torch.zeros_like(rows), q, k), dense[:, 0])
    size = blocks.BLOCK_SIZE[0]
    n = -(-length // size)
    padded = torch.nn.functional.pad(dense, (0, n * size - length, 0, n * size - length))
    tiles = padded.view(2, 1, n, size, n, size)
    assert torch.equal(blocks.to_dense().bool(), tiles.any(dim=-1).any(dim=3))
    assert blocks.sparsity() > 20


def test_scored_tokens_are_predicted_from_the_token_before() -> None:
    g = rendered([3, 2], grid=None, question=2)
    batch = pack.pack([g])
    assert batch.source_M.tolist() == [4, 5, 6, 4, 8]
    assert batch.target_M.tolist() == torch.cat(g.completion_ids).tolist()
    assert batch.place_M.tolist() == [0, 1, 2, 0, 1]
    assert batch.column_M.tolist() == [0, 0, 0, 1, 1]


def test_positions_start_again_at_every_branch() -> None:
    batch = pack.pack([rendered([3, 2], grid=None, question=2), rendered([1], grid=None, question=1)], layout="flat")
    prefix = [torch.tensor([[0, 1, 2, 3, 9]]), torch.tensor([[0, 1, 2, 3]])]
    assert pack.positions(batch, prefix)[0, 0].tolist() == [0, 1, 2, 3, 9, 10, 11, 12, 10, 11, 0, 1, 2, 3, 4]


def test_padding_and_counts() -> None:
    groups = [rendered([3, 2], grid=None, question=2), rendered([1], grid=None, question=1)]
    rows, flat = pack.pack(groups, layout="rows", pad_id=7), pack.pack(groups)
    assert rows.input_ids_LS.shape == (2, 10)
    assert rows.input_ids_LS[1, 5:].tolist() == [7] * 5
    assert flat.input_ids_LS.shape == (1, 15)
    assert pack.pack(groups, layout="rows", multiple_of=8).input_ids_LS.shape == (2, 16)
    assert rows.n_tokens == flat.n_tokens == 15
    assert flat.n_tokens_unshared == 5 + 3 + 5 + 2 + 4 + 1
    assert flat.shape_BKT == (2, 2, 3)


def test_wrong_use() -> None:
    with pytest.raises(DataError, match="0 groups"):
        pack.pack([])
    with pytest.raises(DataError, match="flat or rows"):
        pack.pack([rendered([2], grid=None)], layout="square")
    silent = rendered([2], grid=None)
    object.__setattr__(silent, "scored", (torch.zeros(2, dtype=torch.bool),))
    with pytest.raises(DataError, match="no token to score"):
        pack.pack([silent])
