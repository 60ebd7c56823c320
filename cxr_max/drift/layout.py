"""From findings to sets of cells: levels, status policies, polarity, what entails what.

A cell is concept, side and zone as far as the level keeps them, in one plane per status: present, then absent and
uncertain where mode and policy ask for them. Definition: a finding entails another of the same status whose concept is
its own (or an ancestor, with the hierarchy on) and whose side and zone are open or equal.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift.bits import Sets, Words, pack
from cxr_max.drift.encoded import ABSENT, PRESENT, UNCERTAIN, Booleans, Findings, Ints, Vocabulary, precedence

_CHUNK = 1 << 28


class Layout(NamedTuple):
    """How findings become cells.

    Attributes:
        level: concept, side or zone.
        unc: pos, neg, drop or own.
        mode: present, or present+absent.
        n_concepts: K.
        n_zones: zones without "no zone".
        ancestors: (concept, ancestor) pairs with the hierarchy on.
    """

    level: str
    unc: str
    mode: str
    n_concepts: int
    n_zones: int
    ancestors: tuple[tuple[int, int], ...] = ()

    @property
    def planes(self) -> tuple[int, ...]:
        """Status codes that are findings."""
        absent = (ABSENT,) if self.mode == "present+absent" else ()
        return (PRESENT, *absent, *((UNCERTAIN,) if self.unc == "own" else ()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Concepts, sides and zones that are told apart."""
        sides = 1 if self.level == "concept" else 3
        return self.n_concepts, sides, (self.n_zones + 1 if self.level == "zone" else 1)

    @property
    def n_cells(self) -> int:
        """Cells of all planes."""
        return len(self.planes) * int(np.prod(self.shape))

    def concept_of_cell(self) -> NDArray[np.int64]:
        """Concept of each cell."""
        k, s, z = self.shape
        return np.tile(np.repeat(np.arange(k), s * z), len(self.planes))


def layout_of(vocabulary: Vocabulary, *, level: str, unc: str, mode: str, hierarchy: bool = False) -> Layout:
    """The layout for a vocabulary."""
    pairs = []
    for k in range(len(vocabulary.concepts)) if hierarchy else ():
        parent, seen = vocabulary.parent_K[k], {k}
        while parent >= 0 and parent not in seen:
            pairs.append((k, parent))
            seen.add(parent)
            parent = vocabulary.parent_K[parent]
    return Layout(level, unc, mode, len(vocabulary.concepts), len(vocabulary.zones), tuple(pairs))


class Cells(NamedTuple):
    """Deduplicated findings: owner row, concept, side, zone (as far as the level keeps them) and status code."""

    row: Ints
    concept: Ints
    side: Ints
    zone: Ints
    status: Ints


def collapse(found: Findings, layout: Layout) -> Cells:
    """Findings as cells of the level, duplicates put together by CheXpert's precedence, then the status policy."""
    k, s, z = layout.shape
    side = found.side.astype(np.int64) if s > 1 else np.zeros(len(found.row), dtype=np.int64)
    zone = found.zone.astype(np.int64) if z > 1 else np.zeros(len(found.row), dtype=np.int64)
    key = ((found.row.astype(np.int64) * k + found.concept) * s + side) * z + zone
    unique, inverse = np.unique(key, return_inverse=True)
    seen = np.zeros((len(unique), 3), dtype=bool)
    seen[inverse, found.status] = True
    status = precedence(seen).astype(np.int64)
    if layout.unc in ("pos", "neg"):
        status = np.where(status == UNCERTAIN, PRESENT if layout.unc == "pos" else ABSENT, status)
    cells = Cells(unique // (k * s * z), unique // (s * z) % k, unique // z % s, unique % z, status)
    keep = np.isin(status, layout.planes)
    return Cells(*(column[keep] for column in cells))


def build(found: Findings, n_rows: int, layout: Layout) -> Sets:
    """Sets of cells, one row per owner."""
    cells = collapse(found, layout)
    _, s, z = layout.shape
    plane = np.full(3, -1, dtype=np.int64)
    plane[list(layout.planes)] = np.arange(len(layout.planes))
    base = plane[cells.status] * int(np.prod(layout.shape))
    own = base + (cells.concept * s + cells.side) * z + cells.zone
    rows, more = [cells.row], [own]
    for entailing, concept in ((np.ones(len(own), dtype=bool), cells.concept), *_ancestors(cells, layout)):
        head = base[entailing] + concept * s * z
        side, zone = cells.side[entailing], cells.zone[entailing]
        for open_cell in (head, head + side * z, head + zone, head + side * z + zone):
            rows.append(cells.row[entailing])
            more.append(open_cell)
    return Sets(
        _fill(cells.row, own, n_rows, layout.n_cells),
        _fill(np.concatenate(rows), np.concatenate(more), n_rows, layout.n_cells),
    )


def _ancestors(cells: Cells, layout: Layout) -> list[tuple[Booleans, Ints]]:
    pairs = []
    for concept, ancestor in layout.ancestors:
        chosen = cells.concept == concept
        pairs.append((chosen, np.full(int(chosen.sum()), ancestor, dtype=np.int64)))
    return pairs


def _fill(row: Ints, cell: Ints, n_rows: int, n_cells: int) -> Words:
    """Packed bits; rows are done in chunks so that no boolean matrix exceeds 256 MiB."""
    height = max(1, _CHUNK // max(n_cells, 1))
    if n_rows <= height:
        matrix = np.zeros((n_rows, n_cells), dtype=bool)
        matrix[row, cell] = True
        return pack(matrix)
    parts = []
    for start in range(0, n_rows, height):
        inside = (row >= start) & (row < start + height)
        matrix = np.zeros((min(height, n_rows - start), n_cells), dtype=bool)
        matrix[row[inside] - start, cell[inside]] = True
        parts.append(pack(matrix))
    return np.concatenate(parts)


def concept_mask(layout: Layout, concepts: Booleans) -> Booleans:
    """Cells of the chosen concepts, in every plane: the last axis K becomes cells."""
    return np.asarray(concepts)[..., layout.concept_of_cell()]


def prompt_cells(layout: Layout, prompted_IK: Booleans) -> Booleans:
    """Cells (k, present, no side, no zone) of the prompted concepts: the echo candidate."""
    k, s, z = layout.shape
    cells = np.zeros((len(prompted_IK), layout.n_cells), dtype=bool)
    cells[:, np.arange(k) * s * z] = prompted_IK
    return cells
