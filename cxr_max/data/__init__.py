"""The versioned dataset: raw teacher outputs -> tables -> a release folder that is verified, compared and loaded."""

from cxr_max.plugins import lazy

_MODULE_OF = {
    "BuildConfig": "building",
    "build": "building",
    "extend": "derive",
    "load_dataset": "load",
    "rebuild": "rebuilding",
    "Release": "release",
    "open_release": "release",
}
"""Public names and the modules that define them, imported when first used."""

__all__ = [*_MODULE_OF]

__getattr__, __dir__ = lazy(__name__, _MODULE_OF)
