"""Sets of finding cells as rows of bits, so that two hundred thousand trajectories are compared in milliseconds.

A cell is a (status plane, concept, side, zone) of a `Layout`; a row holds one bit per cell in 64-bit words.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
_BITS_OF = np.array([bin(i).count("1") for i in range(1 << 16)], dtype=np.uint8)


class Sets(NamedTuple):
    """Rows of findings.

    Attributes:
        own: the cells asserted, rows x words.
        entailed: every cell these entail: the same concept and status with the side or the zone left open.
    """

    own: Words
    entailed: Words


def pack(cells: ArrayLike) -> Words:
    """Rows of booleans to rows of words; the last axis is padded to a multiple of 64."""
    array = np.asarray(cells, dtype=bool)
    width = -(-max(array.shape[-1], 1) // 64) * 64
    packed = np.packbits(array, axis=-1, bitorder="little")
    missing = width // 8 - packed.shape[-1]
    packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(packed).view(np.uint64)


def unpack(words: Words, n_cells: int) -> NDArray[np.bool_]:
    """The inverse of `pack`."""
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    return flat[..., :n_cells].astype(bool)


def count(words: Words) -> NDArray[np.int32]:
    """Number of set bits per row."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(words).sum(axis=-1, dtype=np.int32))
    # numpy 1.26 has no population count.
    halves = np.ascontiguousarray(words).view(np.uint16)
    return np.asarray(_BITS_OF[halves].sum(axis=-1, dtype=np.int32))
