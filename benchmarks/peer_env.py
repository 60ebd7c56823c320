"""Environments of their own for the packages we are measured against.

    python -m benchmarks.peer_env trl

makes `.venv-trl` beside this repository, or `$CXR_MAX_PEERS/trl`, from `benchmarks/peers/trl.txt`. Tests and
benchmarks that need one look it up with `python_of` and say how to make it when it is absent.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_libraries: list[Any] = []


def folder(name: str) -> Path:
    """Where the environment of a peer lies."""
    base = os.environ.get("CXR_MAX_PEERS")
    return Path(base) / name if base else HERE.parent / f".venv-{name}"


def requirements(name: str) -> Path:
    """The requirements file of a peer; see `benchmarks/peers/`."""
    return HERE / "peers" / f"{name}.txt"


def python_of(name: str) -> Path | None:
    """The interpreter of a peer's environment, or None when it is absent or made from other requirements."""
    stamp, python = folder(name) / "made-from", folder(name) / "bin" / "python"
    if not stamp.is_file() or not python.is_file() or stamp.read_text() != _digest(name):
        return None
    return python


def command(name: str) -> str:
    """The command that makes an environment."""
    return f"python -m benchmarks.peer_env {name}"


def make(name: str) -> Path:
    """Make the environment of a peer, unless it is there already; returns its interpreter."""
    found = python_of(name)
    if found is not None:
        return found
    venv.EnvBuilder(with_pip=True, clear=True).create(folder(name))
    python = folder(name) / "bin" / "python"
    torch = [line for line in requirements(name).read_text().splitlines() if line.startswith("torch==")]
    # Torch first: nothing that follows may then replace a CPU build by another one.
    for what in ([torch] if torch else []) + [["--requirement", str(requirements(name))]]:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
    (folder(name) / "made-from").write_text(_digest(name))
    return python


def ensure_torchvision() -> bool:
    """Make the torchvision wheel of a CUDA build importable on a CPU-only torch; call it before transformers.

    The wheel's operators fail to load there, and its import with them. Declaring the two that it registers
    meta functions for is enough for transforms and image processors; `torchvision.ops.nms` itself stays unusable.

    Returns:
        Whether torchvision imports.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return True
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = importlib.import_module("torch").library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    importlib.import_module("torchvision")
    return True


def _digest(name: str) -> str:
    return hashlib.sha256(requirements(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the environment of a peer.")
    parser.add_argument("name", choices=sorted(p.stem for p in (HERE / "peers").glob("*.txt")))
    print(make(parser.parse_args().name))
