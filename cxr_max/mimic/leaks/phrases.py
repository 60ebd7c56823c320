"""The phrases of all reports of a root, and which runs of words of another text occur in them.

A leak is a run of 12 or more consecutive words that occurs in the reports of at most 2 patients, or any run of 30 or
more. A longer run occurs in no more reports than its parts do, so for each word of a text the longest run that begins
there decides: `PhraseIndex.match` finds it exactly (up to 30 words) with the number of patients that have it.

The index is a suffix array over the words of all reports: positions sorted by the hash of their first 12 words and,
among equal ones, by the words that follow. A run is then a slice of it, found by one look-up and narrowed word by word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cxr_max.mimic.leaks.words import BREAK, CHUNK, LONG, SHINGLE, U64, Words, read, shingles, short, visible

U32 = npt.NDArray[np.uint32]
FORMAT = 1
"""Raised when folding, hashing or the arrays change, so that an older cache is not read."""

FEW = 2
"""A run of 12 to 29 words in more patients' reports than this is a stock phrase."""

_ARRAYS = ("hashes", "places", "third", "stream", "bitmap", "patients")


class Runs(NamedTuple):
    """What was found in one chunk.

    Attributes:
        first, last: index of the first word of each leak and of the word after its end, [k].
        patients: how many patients' reports hold its longest run; 3 stands for 3 or more, [k].
        stock: number of stock phrases (maximal runs of 12 to 29 words of more than 2 patients) outside of leaks.
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    patients: npt.NDArray[np.int64]
    stock: int


@dataclass(frozen=True)
class PhraseIndex:
    """Sorted phrases of a root's reports. Holds hashes only, yet is of class source like what it was made from.

    Attributes:
        hashes: hash of the first 12 words at each place, ascending, u64 [n].
        places: position in `stream` of each, u32 [n].
        third: for each entry the first one from it on at which a third patient appears, u32 [n].
        stream: 32-bit hashes of the words of all reports; 0 after each report, u32 [m].
        bitmap: one bit per leading bits of a hash; what is not set occurs nowhere, u8.
        patients: number of patients and of reports, i64 [2].
    """

    hashes: U64
    places: U32
    third: U32
    stream: U32
    bitmap: npt.NDArray[np.uint8]
    patients: npt.NDArray[np.int64]

    @property
    def n_patients(self) -> int:
        """Patients whose reports are in the index."""
        return int(self.patients[0])

    @property
    def n_reports(self) -> int:
        """Reports in the index."""
        return int(self.patients[1])

    def match(self, words: Words) -> Runs:
        """The leaks and the number of stock phrases among the words of a chunk."""
        start, length, patients = self.longest(words)
        leak = (length >= LONG) | (patients <= FEW)
        first, last, fewest = _union(start[leak], length[leak], patients[leak])
        stock_first, stock_last, _ = _maximal(start[~leak], length[~leak])
        covered = np.searchsorted(first, stock_first, side="right") - 1
        inside = (covered >= 0) & (stock_last <= np.append(last, 0)[covered])
        return Runs(first, last, fewest, int((~inside).sum()))

    def longest(self, words: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each word with which a run of 12 or more begins: its index, the run's length (at most 30), its patients.

        Patients are 1 or 2 (given as 2) or 3 for more.
        """
        keys = shingles(words.hashes)
        at = np.flatnonzero(self._possible(keys) & (np.arange(keys.size) + SHINGLE <= words.limits[: keys.size]))
        low = np.searchsorted(self.hashes, keys[at])
        found = self.hashes[np.minimum(low, self.hashes.size - 1)] == keys[at] if self.hashes.size else low < 0
        at, low = at[found], low[found]
        high = np.searchsorted(self.hashes, keys[at], side="right")
        query = short(words.hashes)
        same = np.ones(at.size, bool)
        for k in range(SHINGLE):
            same &= self.stream[self.places[low] + np.uint32(k)] == query[at + k]
        at, low, high = at[same], low[same], high[same]
        length = np.full(at.size, SHINGLE, np.int64)
        active = np.arange(at.size)
        for k in range(SHINGLE, LONG):
            active = active[at[active] + k < words.limits[at[active]]]
            if not active.size:
                break
            wanted = query[at[active] + k]
            lower = self._bound(low[active], high[active], wanted, k, right=False)
            upper = self._bound(lower, high[active], wanted, k, right=True)
            longer = upper > lower
            active = active[longer]
            low[active], high[active] = lower[longer], upper[longer]
            length[active] += 1
        return at, length, np.where(self.third[low] < high, 3, FEW) if at.size else length

    def _possible(self, keys: U64) -> npt.NDArray[np.bool_]:
        slot = keys >> np.uint64(64 - _bits(self.bitmap.size))
        set_: npt.NDArray[np.bool_] = (
            self.bitmap[slot >> np.uint64(3)] >> (slot & np.uint64(7)).astype(np.uint8)
        ) & 1 != 0
        return set_

    def _bound(self, low: Any, high: Any, wanted: U32, k: int, *, right: bool) -> Any:
        """Binary search in every slice at once: the first entry whose word k is not below (right: above) the wanted."""
        low, high = low.copy(), high.copy()
        open_ = np.flatnonzero(low < high)
        while open_.size:
            middle = (low[open_] + high[open_]) // 2
            word = self.stream[self.places[middle] + np.uint32(k)]
            below = word <= wanted[open_] if right else word < wanted[open_]
            low[open_] = np.where(below, middle + 1, low[open_])
            high[open_] = np.where(below, high[open_], middle)
            open_ = open_[low[open_] < high[open_]]
        return low

    def save(self, folder: Path) -> None:
        """Write the arrays into an existing folder."""
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "PhraseIndex":
        """Map the arrays written by `save`; nothing is read before it is needed."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS))


def build(reports: Iterable[tuple[int, bytes]]) -> PhraseIndex:
    """Index reports.

    Args:
        reports: (patient, text in any encoding that keeps ASCII) of each.
    """
    hashes: list[U64] = []
    owners: list[npt.NDArray[np.int64]] = []
    n_reports, people = 0, set()
    for texts, who in _batches(reports):
        words = read(visible(BREAK.join(texts)))
        # A row's words are followed by one 0, which no word of a text can match.
        n = np.bincount(words.rows, minlength=len(who))
        block = np.zeros(words.rows.size + len(who), np.uint64)
        block[np.arange(words.rows.size) + words.rows] = words.hashes
        hashes.append(block)
        owners.append(np.repeat(np.asarray(who, np.int64), n + 1))
        n_reports += len(who)
        people.update(who)
    full = np.concatenate(hashes) if hashes else np.zeros(1, np.uint64)
    owner = np.concatenate(owners) if owners else np.zeros(1, np.int64)
    del hashes, owners
    return _sort(full, owner, np.array([len(people), n_reports], np.int64))


def _batches(reports: Iterable[tuple[int, bytes]]) -> Iterable[tuple[list[bytes], list[int]]]:
    texts: list[bytes] = []
    who: list[int] = []
    size = 0
    for patient, text in reports:
        texts.append(text.replace(BREAK[:1], b" "))
        who.append(patient)
        size += len(text)
        if size > CHUNK:
            yield texts, who
            texts, who, size = [], [], 0
    if texts:
        yield texts, who


def _sort(full: U64, owner: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> PhraseIndex:
    stream = np.where(full == 0, np.uint32(0), short(full)).astype(np.uint32)
    # How many words stand before the next 0.
    zeros = np.flatnonzero(full == 0)
    left = zeros[np.searchsorted(zeros, np.arange(full.size))] - np.arange(full.size)
    keys = shingles(full)
    valid = np.flatnonzero(left[: keys.size] >= SHINGLE).astype(np.uint32)
    del left, full
    # Entries may look up to 30 words ahead, past the end of the stream.
    stream = np.append(stream, np.zeros(LONG, np.uint32))
    after = _rank_of_next(stream)[valid + SHINGLE]
    keys = keys[valid]
    order = np.argsort(after, kind="stable")
    order = order[np.argsort(keys[order], kind="stable")]
    places, hashes = valid[order], keys[order]
    third = _third_patient(owner[places])
    bits = max(16, min(32, int(np.ceil(np.log2(max(hashes.size, 1) * 16)))))
    bitmap = np.zeros(1 << (bits - 3), np.uint8)
    slot = hashes >> np.uint64(64 - bits)
    bit = np.uint8(1) << (slot & np.uint64(7)).astype(np.uint8)
    np.bitwise_or.at(bitmap, (slot >> np.uint64(3)).astype(np.int64), bit)
    return PhraseIndex(hashes, places, third, stream, bitmap, counts)


def _rank_of_next(stream: U32) -> U32:
    """Rank of each position by its next 18 words (30 less the 12 of the hash), by doubling: 1, 2, 4, 8, 16, 18."""
    rank, have = stream, 1
    kept = rank
    while have < LONG - SHINGLE:
        step = have if have * 2 <= LONG - SHINGLE else LONG - SHINGLE - have
        second = np.zeros(rank.size, np.uint32)
        # When the last step is shorter than what we have, the ranks of that shorter length are needed.
        source = rank if step == have else kept
        second[: rank.size - have] = source[have:]
        pair = (rank.astype(np.uint64) << np.uint64(32)) | second
        order = np.argsort(pair)
        ordered = pair[order]
        new = np.empty(rank.size, np.uint32)
        new[order] = np.cumsum(np.append(True, ordered[1:] != ordered[:-1]), dtype=np.uint32)
        have += step
        rank = new
        if have == 2:
            kept = rank
    return rank


def _third_patient(owner: npt.NDArray[np.int64]) -> U32:
    """For each entry the first one from it on at which a third distinct owner appears; n where none does."""
    n = owner.size
    if n == 0:
        return np.empty(0, np.uint32)
    edges = np.append(np.flatnonzero(np.diff(owner)) + 1, n)
    other = edges[np.searchsorted(edges, np.arange(n), side="right")]
    third = np.full(n, n, np.int64)
    open_ = np.flatnonzero(other < n)
    reach = other[open_]
    while open_.size:
        reach = other[np.minimum(reach, n - 1)]
        inside = reach < n
        open_, reach = open_[inside], reach[inside]
        done = (owner[reach] != owner[open_]) & (owner[reach] != owner[other[open_]])
        third[open_[done]] = reach[done]
        open_, reach = open_[~done], reach[~done]
    return third.astype(np.uint32)


def _maximal(start: Any, length: Any) -> tuple[Any, Any, Any]:
    """Runs that no run beginning before them holds whole; starts ascend."""
    end = start + length
    if not start.size:
        return start, end, np.empty(0, bool)
    best = np.maximum.accumulate(end)
    keep = np.append(True, end[1:] > best[:-1])
    return start[keep], end[keep], keep


def _union(start: Any, length: Any, patients: Any) -> tuple[Any, Any, Any]:
    """Runs that overlap, joined; with the least number of patients among their parts."""
    if not start.size:
        return start, start, patients
    end = np.maximum.accumulate(start + length)
    opens = np.append(0, np.flatnonzero(start[1:] >= end[:-1]) + 1)
    return start[opens], end[np.append(opens[1:], start.size) - 1], np.minimum.reduceat(patients, opens)


def _bits(n_bytes: int) -> int:
    return int(n_bytes).bit_length() - 1 + 3
