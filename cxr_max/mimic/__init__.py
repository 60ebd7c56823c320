"""The credentialed half: the only code that knows how MIMIC-CXR and MIMIC-CXR-JPG lie on disk.

Everything read here is of class source: it stays under the user's roots, in the private cache, or in an output folder
made with `cxr_max.folders`. Names arrive when first used, so that importing this loads neither polars nor pydicom.

    what is there    layout stock tables sums archive reports sections images locate overlap
    the join         match store joined coverage
    its forms        forms features torch_dataset classes
    fetching         wanted agreement wget fetch journal
    the guard        guard, and leaks/
"""

from cxr_max.plugins import lazy

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

__all__ = [*_HOME]

__getattr__, __dir__ = lazy(__name__, _HOME)
