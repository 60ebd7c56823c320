"""The built-in synthetic release: a small text-only world, made on first use, offline; kept in the private cache."""

import hashlib
import os
import shutil
from pathlib import Path

from cxr_max import __version__, data, findings, synth
from cxr_max.folders import cache_dir, private_dir, sibling

SUBJECTS, SEED = 40, 0


def folder() -> Path:
    """The release's folder; built when this version of the package has not built it yet (a few seconds)."""
    place = private_dir(cache_dir() / "synthetic") / key()
    if (place / "manifest.json").is_file():
        return place
    with sibling(place) as draft:
        synth.write_world(synth.WorldConfig(subjects=SUBJECTS, seed=SEED, images=False), draft / "world")
        data.build([draft / "world" / "raw"], draft / "release")
        try:
            os.rename(draft / "release", place)
        except OSError:
            # Another process was faster; the same seed gave it the same release.
            if not (place / "manifest.json").is_file():
                raise
        shutil.rmtree(draft, ignore_errors=True)
    return place


def key() -> str:
    """Name of its folder; changes with what it is made by."""
    made_by = [__version__, findings.LEXICON_VERSION, str(SUBJECTS), str(SEED)]
    return hashlib.sha256("\n".join(made_by).encode()).hexdigest()[:16]
