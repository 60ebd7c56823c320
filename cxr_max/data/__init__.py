"""The versioned dataset: raw teacher outputs -> tables -> a release folder that is verified, compared and loaded.

    raw files    sources readers shapes identity rows resolve ingest analyse
    a release    building rebuilding derive versions layout writing content manifest finish swap
    its papers   card croissant index
    checks       contracts verify diff intact clearance
    opening      locate folder release load builder splits places joining synthetic
    going out    export physionet publish hub
    beforehand   sample

Names arrive when first used.
"""

from cxr_max.plugins import lazy

_HOME = {
    "BuildConfig": "building",
    "build": "building",
    "extend": "derive",
    "load_dataset": "load",
    "rebuild": "rebuilding",
    "Release": "release",
    "open_release": "release",
}
"""Public names and the modules that define them, imported when first used."""

__all__ = [*_HOME]

__getattr__, __dir__ = lazy(__name__, _HOME)
