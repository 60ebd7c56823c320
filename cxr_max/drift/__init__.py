"""How the teachers drift apart: per teacher, between teachers, along the reasoning, between releases.

`report` is the one call most users need; `encode` and `merge` split it by shards; `stats` holds the pure statistics,
one file each. Names arrive when they are first used, so that importing this package loads neither polars nor scipy.
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
