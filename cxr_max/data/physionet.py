"""The bundle PhysioNet expects: a folder named after its parent with `Ext`, README sections, LICENSE, SHA256SUMS.

Guidance for derivatives of MIMIC: share them on PhysioNet under the agreement of the source, with "Ext" in the name
and the parent projects named. The bundle is itself a valid release.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from cxr_max.data import card, clearance, layout, locate, manifest, writing
from cxr_max.data.locate import Located
from cxr_max.errors import UsageError
from cxr_max.folders import fsync_dir, output_dir, sibling

NAME = "mimic-cxr-ext-cxr-max"
SUMS = "SHA256SUMS.txt"
_LICENSE_TEXT = f"""PhysioNet Credentialed Health Data License 1.5.0

This project is derived from MIMIC-CXR and is distributed under the licence and the data use agreement of its source:
{card.LICENSE_URL}

Access is granted by PhysioNet to credentialed users who have completed the required training and signed the
PhysioNet Credentialed Health Data Use Agreement 1.5.0, each of them in person.
"""
_FREE_TEXT = "Synthetic data: no patient, no image and no text of MIMIC-CXR is in it. Apache License 2.0.\n"


def bundle(release: Any, out: Path, *, overwrite: bool = False) -> Path:
    """Write the bundle into `out` (0700 and outside of any git repository unless the release is synthetic).

    Args:
        release: a folder or open release; a full one or an index.
        out: folder in which `mimic-cxr-ext-cxr-max-X.Y.Z` is made.
        overwrite: replace a bundle of this version.

    Returns:
        The bundle's folder.

    Raises:
        UsageError: it exists already.
        RestrictedDataError: `out` lies inside a git work tree.
        CheckFailedError: the release does not verify.
    """
    located = locate.locate(release)
    clearance.check(located)
    place = Path(out) / f"{NAME}-{located.version}"
    if place.exists() and not overwrite:
        raise UsageError(f"{place} exists already", next="choose another folder or pass --overwrite")
    output_dir(Path(out), synthetic=located.synthetic)
    with sibling(place) as draft:
        _fill(located, draft)
        if place.exists():
            shutil.rmtree(place)
        os.replace(draft, place)
    fsync_dir(place.parent)
    return place


def _fill(located: Located, draft: Path) -> None:
    made: manifest.Manifest = {**located.manifest, "files": dict(located.manifest["files"])}
    for name in located.manifest["files"]:
        if name != layout.CARD:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(layout.safe_path(located.path, name), draft / name)
    (draft / layout.CARD).write_text(readme(made), encoding="utf-8")
    made["files"][layout.CARD] = writing.file_entry(draft / layout.CARD)
    (draft / clearance.LICENSE).write_text(_FREE_TEXT if located.synthetic else _LICENSE_TEXT, encoding="utf-8")
    made["files"][clearance.LICENSE] = writing.file_entry(draft / clearance.LICENSE)
    manifest.write(draft, made)
    (draft / SUMS).write_text(sums(draft), encoding="utf-8")


def readme(made: manifest.Manifest) -> str:
    """README.md with PhysioNet's sections; the card's front matter stays, so that the bundle loads as a dataset."""
    tables = {name: manifest.table_of(made, name) for name in made["tables"]}
    front = yaml.safe_dump(card.front_matter(made, tables), sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{front}---\n{card.fill(card.template('physionet.md'), card.facts(made, tables))}"


def sums(folder: Path) -> str:
    """`SHA256SUMS.txt` as PhysioNet writes it: 64 hex digits, one space, path; sorted; without itself."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return "".join(f"{writing.file_entry(folder / name)['sha256']} {name}\n" for name in names)
