"""CXR-MAX: a versioned dataset of drifting teachers, MIMIC-CXR joins, drift statistics, APO training and evaluation.

Importing this loads none of polars, datasets, torch or transformers; every name below arrives when it is first used.
It also makes `datasets.load_dataset("cxr-max", ...)` work, unless `CXR_MAX_NO_HOOK=1`.
"""

import os

from cxr_max.hook import register, unregister
from cxr_max.plugins import lazy
from cxr_max.schema import FINDINGS
from cxr_max.teachers import TEACHERS

__version__ = "0.1.0"

__all__ = ["FINDINGS", "TEACHERS", "__version__", "load_dataset", "open_release", "register", "unregister"]

_HOME = {"load_dataset": "data.load", "open_release": "data.release"}

__getattr__, __dir__ = lazy(__name__, _HOME)

if os.environ.get("CXR_MAX_NO_HOOK") != "1":
    register()
