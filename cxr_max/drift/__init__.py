"""How the teachers drift apart: per teacher, between teachers, along the reasoning, between releases.

`report` is the one call most users need; `encode` and `merge` split it by shards; `stats` holds the pure statistics,
one file each. Names arrive when they are first used, so that importing this package loads neither polars nor scipy.

Known limits, against simulated truth (`benchmarks/drift_truth`, tolerances written down first): invented devices are
read .08 too low; precision, recall, flips, hedging, grounding, refusals and the order of the teachers hold. The
permutation tests of the topic-aligned and plain curves reject also where no error grows, since a section names its
diagnosis first and signs after; the headline test (`stats.disagreement_trend`) does not.
"""

from cxr_max.plugins import lazy

_NAMES = {
    "Config": "config",
    "DriftReport": "result",
    "encode": "reading",
    "from_encoded": "reporting",
    "from_texts": "sources",
    "merge": "encoded",
    "report": "reporting",
    "run": "running",
    "write": "running",
}

__all__ = ["Config", "DriftReport", "encode", "from_encoded", "from_texts", "merge", "report", "stats"]

__getattr__, __dir__ = lazy(__name__, _NAMES)
