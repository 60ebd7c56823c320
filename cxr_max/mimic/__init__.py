"""The credentialed half: the only code that knows how MIMIC-CXR and MIMIC-CXR-JPG lie on disk.

Everything read here is of class source: it stays under the user's roots, in the private cache, or in an output folder
made with `cxr_max.folders`. Names arrive when first used, so that importing this loads neither polars nor pydicom.
"""

import importlib
from typing import Any

_HOME = {
    "check": "stock",
    "check_out": "joined",
    "join": "joined",
    "Joined": "joined",
    "Options": "match",
    "Coverage": "coverage",
    "open_root": "layout",
    "MimicRoot": "layout",
    "parse_report": "sections",
    "read_report": "sections",
    "references": "reports",
    "view": "reports",
    "Radiograph": "features",
    "read_image": "images",
    "decode_image": "images",
    "equalize_hist": "images",
    "to_uint8": "images",
    "resize": "images",
}
_MODULES = (
    "archive", "agreement", "classes", "coverage", "features", "fetch", "forms", "guard", "images", "joined", "layout",
    "locate", "match", "overlap", "reports", "sections", "stock", "store", "sums", "tables", "torch_dataset",
    "wanted", "wget",
)  # fmt: skip

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
