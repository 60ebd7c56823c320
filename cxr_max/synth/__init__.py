"""A MIMIC-shaped world with known truth, and seven simulated teachers with known drift.

    the world       config world concepts temporal truth
    its texts       grammar statements reports labels tables reading
    its films       chest canvas phantom lesions devices lateral films
    the teachers    profiles teachers decide essays
    to disk         block publicsets write

Names arrive when first used.
"""

from cxr_max.plugins import lazy

_HOME = {
    "WorldConfig": "config",
    "validate": "config",
    "World": "world",
    "make_world": "world",
    "profiles": "profiles",
    "draw_errors": "teachers",
    "write_world": "write",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy(__name__, _HOME)
