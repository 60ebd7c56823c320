"""The echo baseline: what repeating the prompt would score.

The candidate is {(k, present, no side) : k named in the prompt}. The prompt holds the diagnoses, so precision and
recall without this row measure copying.
"""

from numpy.typing import ArrayLike

from cxr_max.drift.bits import Sets, pack
from cxr_max.drift.stats.finding_alignment import Overlap
from cxr_max.drift.stats.finding_alignment import compute as align


def compute(prompted_IC: ArrayLike, reference: Sets) -> Overlap:
    """Overlap of the prompt's cells with the reference.

    Args:
        prompted_IC: instances x cells of the layout, True for (k, present, no side, no zone) of each prompted k.
        reference: one row per instance, in the same layout.
    """
    words = pack(prompted_IC)
    # An open cell entails nothing but itself.
    return align(Sets(words, words), reference)
