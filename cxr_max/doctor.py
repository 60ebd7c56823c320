"""What this machine has and what can be done on it: versions, extras, caches, roots, tools."""

import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from cxr_max import __version__
from cxr_max.errors import CxrMaxError
from cxr_max.folders import cache_path, config_file
from cxr_max.optional import installed_version, requirements
from cxr_max.roots import resolve

TOOLS: dict[str, str] = {
    "wget": "cxr-max mimic fetch (PhysioNet answers basic auth to no other client)",
    "java": "METEOR",
    "nvidia-smi": "training and evaluation on a GPU",
}
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "dataset: build, load, verify, diff, export": (),
    "MIMIC-CXR joins (DICOM and JPG)": (),
    "DICOM in JPEG lossless": ("dicom",),
    "drift statistics and report": ("drift",),
    "training: SFT, consensus, APO": ("train",),
    "evaluation of models": ("eval", "train"),
}


def examine() -> dict[str, Any]:
    """Look at the machine; nothing is imported, changed or sent.

    Returns:
        A JSON-ready dict with keys cxr_max, platform, python, processor, cores, memory_gib, packages (one row per
        requirement: distribution, extra, needed, installed, ok), extras (name -> complete), cache, config, roots,
        tools, can.
    """
    rows = [
        {
            "distribution": n.distribution,
            "extra": n.extra,
            "needed": str(n.requirement.specifier),
            "installed": (version := installed_version(n.distribution)),
            "ok": version is not None and n.requirement.specifier.contains(version, prereleases=True),
        }
        for n in requirements()
    ]
    extras = sorted({n.extra for n in requirements()})
    complete = {e: all(r["ok"] for r in rows if r["extra"] == e) for e in extras}
    return {
        "cxr_max": __version__,
        "platform": platform.platform(),
        **machine(),
        "packages": rows,
        "extras": {e: ok for e, ok in complete.items() if e},
        "cache": _folder(cache_path()),
        "config": {"path": str(config_file()), "exists": config_file().exists()},
        "roots": _roots(),
        "release": _release(),
        "tools": {tool: shutil.which(tool) for tool in TOOLS},
        "can": {what: [e for e in ("", *needs) if not complete.get(e, False)] for what, needs in CAPABILITIES.items()},
    }


def machine() -> dict[str, Any]:
    """What a result says of the machine it was made on: python, processor, cores, memory_gib."""
    return {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
    }


def commit() -> str:
    """The commit of the work tree this package is imported from, 12 digits; empty when it was installed."""
    top = Path(__file__).resolve().parents[1]
    if not (top / ".git").exists() or shutil.which("git") is None:
        return ""
    asked = ["git", "-C", str(top), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def healthy(report: dict[str, Any]) -> bool:
    """Whether the core is complete and every root that is named can be read."""
    core = all(r["ok"] for r in report["packages"] if not r["extra"])
    return core and report["roots"]["error"] is None


def _roots() -> dict[str, Any]:
    try:
        found = resolve()
    except CxrMaxError as e:
        return {"found": [], "error": str(e)}
    rows = [
        {"name": r.name, "path": str(r.path), "origin": r.origin, "readable": os.access(r.path, os.R_OK | os.X_OK)}
        for r in found
    ]
    return {"found": rows, "error": None}


def _release() -> str | None:
    given = os.environ.get("CXR_MAX_RELEASE")
    if given:
        return given
    return str(Path("cxr-max").resolve()) if Path("cxr-max/manifest.json").is_file() else None


def _folder(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        return {"path": str(path), "mode": None, "files": 0, "bytes": 0}
    files = [f for f in path.rglob("*") if f.is_file() and not f.is_symlink()]
    mode = stat.S_IMODE(path.stat().st_mode)
    return {
        "path": str(path),
        "mode": f"{mode:04o}",
        "files": len(files),
        "bytes": sum(f.stat().st_size for f in files),
    }


def _memory_gib() -> float | None:
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
