"""Precision and recall of what goes beyond the prompt: prompted concepts are removed from both sides first."""

from numpy.typing import ArrayLike

from cxr_max.drift.bits import Sets, pack
from cxr_max.drift.stats.finding_alignment import Overlap
from cxr_max.drift.stats.finding_alignment import compute as align


def compute(candidate: Sets, reference: Sets, prompted_TC: ArrayLike) -> Overlap:
    """Overlap without the prompted concepts.

    Args:
        candidate: one row per trajectory.
        reference: one row per trajectory.
        prompted_TC: trajectories x cells, True for every cell of a prompted concept, whatever its status or side.
    """
    return align(candidate, reference, mask=~pack(prompted_TC))
