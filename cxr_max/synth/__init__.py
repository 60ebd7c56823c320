"""A MIMIC-shaped world with known truth, and seven simulated teachers with known drift."""

from cxr_max.plugins import lazy

_WHERE = {
    "WorldConfig": "config",
    "validate": "config",
    "World": "world",
    "make_world": "world",
    "profiles": "profiles",
    "draw_errors": "teachers",
    "write_world": "write",
}

__all__ = ["World", "WorldConfig", "draw_errors", "make_world", "profiles", "validate", "write_world"]

__getattr__, __dir__ = lazy(__name__, _WHERE)
