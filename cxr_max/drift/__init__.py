"""How the teachers drift apart: per teacher, between teachers, along the reasoning, between releases.

`report` is the one call most users need; `encode` and `merge` split it by shards; `stats` holds the pure statistics,
one file each. Names arrive when they are first used, so that importing this package loads neither polars nor scipy.

Known limits, against simulated truth (`benchmarks/drift_truth`, tolerances written down first): recall is read .10 too
low (.06 pooled), invented devices .06 too low, some refusals are missed; precision, flips, hedging, grounding and the
order of the teachers hold. The step test rejects also where no error grows, since a section names its diagnosis first
and signs after: it shows that the curve is not flat, not why.
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
