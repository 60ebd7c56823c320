"""What of MIMIC-CXR is there, in which version, what is missing, and what that disables."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr_max.mimic.layout import EVALUATION_FILES, TABLE_FILES, MimicRoot

DISABLES: dict[str, str] = {
    "jpg": "images from JPG (DICOM serves as well)",
    "dicom": "images from DICOM (JPG serves as well)",
    "reports": "report text: references, drift against the radiologist, text to label",
    "metadata": "view positions, study dates, and the check of ids (split or records serve for ids)",
    "split": "the check of splits, and marking patients of the official validate and test sets",
    "chexpert": "CheXpert labels and their agreement with the prompted diagnoses",
    "negbio": "NegBio labels",
    "radiologist": "the radiologist's labels of test studies",
    "records": "nothing else needs the list of DICOM files",
    "studies": "nothing else needs the list of studies",
    "providers": "statistics by provider",
    "sums": "verifying hashes (--verify)",
    "ms-cxr-t": "marking patients of MS-CXR-T",
    "ms-cxr": "marking patients of MS-CXR",
}
"""Part -> what does not work without it."""

_IMAGE_KINDS = ("jpg", "dicom")


@dataclass(frozen=True)
class Part:
    """One part of MIMIC-CXR.

    Attributes:
        part: a key of `DISABLES`.
        found: it lies under the roots.
        version: of the release it belongs to, where known.
        where: files or folders, the first is used.
        disables: what does not work, when it is missing.
    """

    part: str
    found: bool
    version: str | None
    where: tuple[Path, ...]
    disables: str | None


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Attributes:
        parts: in the order of `DISABLES`.
        versions: mimic-cxr, mimic-cxr-jpg -> version; `2.x` where nothing tells which.
        synthetic: all of it is marked as synthetic.
        truncated: there were more folders than the search goes into.
    """

    parts: tuple[Part, ...]
    versions: dict[str, str]
    synthetic: bool
    truncated: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "parts": [{**asdict(p), "where": [str(w) for w in p.where]} for p in self.parts]}


def check(root: MimicRoot) -> Check:
    """Take stock of an open root; reads no table and no image."""
    layout = root.layout
    places: dict[str, list[Path]] = {
        **layout.kinds,
        **{name: layout.tables.get(name, []) for name in TABLE_FILES},
        "sums": layout.sums,
        **{name: layout.evaluation.get(name, []) for name in EVALUATION_FILES},
    }
    any_image = any(places[kind] for kind in _IMAGE_KINDS)
    parts = []
    for part, disables in DISABLES.items():
        where = tuple(places[part])
        if part in _IMAGE_KINDS and not any_image:
            disables = "all images: neither JPG nor DICOM was found"
        parts.append(Part(part, bool(where), _version(part, layout.versions) if where else None, where,
                          None if where else disables))  # fmt: skip
    return Check(tuple(parts), dict(layout.versions), root.synthetic, layout.truncated)


def _version(part: str, versions: dict[str, str]) -> str | None:
    if part in EVALUATION_FILES or part == "sums":
        return None
    dicom = part in ("dicom", "reports", "records", "studies", "providers")
    return versions.get("mimic-cxr" if dicom else "mimic-cxr-jpg")
