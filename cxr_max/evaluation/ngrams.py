"""N-grams of many texts at once: each order as integer ids, counted by sorting instead of hashing one by one."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Counts(NamedTuple):
    """How often each n-gram occurs in each text: parallel arrays, sorted by (text, gram).

    Attributes:
        text: index of the text.
        gram: id of the n-gram; equal ids are equal n-grams, over all texts of one `count` call.
        n: occurrences, at least 1.
        grams: number of ids.
    """

    text: Ints
    gram: Ints
    n: Ints
    grams: int


def count(texts: Sequence[str], orders: int) -> tuple[Ints, list[Counts]]:
    """Split texts on white space and count their n-grams of orders 1 to `orders`.

    Returns:
        Lengths in words [T], and one `Counts` per order.
    """
    words = [t.split() for t in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__
    flat = np.fromiter(map(ids.__getitem__, chain.from_iterable(words)), np.int64, int(lengths.sum()))
    text = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    # Words left in the text from each position on, itself included: an n-gram begins where at least n are left.
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))
    tables, gram, vocabulary = [], flat, max(len(ids), 1)
    for order in range(1, orders + 1):
        begins = left >= order
        if order > 1:
            # Only positions whose shorter gram exists go on; the pair (shorter gram, next word) is the longer gram.
            position = np.flatnonzero(begins)
            paired = gram[position] * vocabulary + flat[position + order - 1]
            longer = np.zeros_like(flat)
            longer[position] = np.unique(paired, return_inverse=True)[1]
            gram = longer
        tables.append(_counted(text[begins], gram[begins]))
    return lengths, tables


def _counted(text: Ints, gram: Ints) -> Counts:
    grams = int(gram.max()) + 1 if len(gram) else 1
    keys, n = np.unique(text * grams + gram, return_counts=True)
    return Counts(keys // grams, keys % grams, n, grams)


def split(counts: Counts, texts: int) -> tuple[Counts, Counts]:
    """The first `texts` texts and the rest, the rest numbered from 0 again; ids stay common."""
    at = int(np.searchsorted(counts.text, texts))
    first = Counts(counts.text[:at], counts.gram[:at], counts.n[:at], counts.grams)
    return first, Counts(counts.text[at:] - texts, counts.gram[at:], counts.n[at:], counts.grams)
