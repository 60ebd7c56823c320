"""Every command of the README works, in the order in which it stands there, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(?:bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Lines of the shell blocks, without comments."""
    lines = (line.partition(" #")[0].strip() for block in BLOCK.findall(text) for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


README = commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_make_commands_are_what_continuous_integration_runs() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in (c for c in README if c.startswith("make ")):
        target = line.split()[1]
        assert f"make {target}" in ci
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_command_is_of_a_known_kind() -> None:
    assert {c.split()[0] for c in README} <= {"make", "cxr-max", "pip"}
    assert any(c.startswith("cxr-max") for c in README)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("line", [c for c in README if c.startswith("cxr-max")])
def test_command(line: str, folder: Path) -> None:
    (folder / "PATH").mkdir(exist_ok=True)
    code = "from cxr_max.cli import main; main()"
    env = {**os.environ, "CXR_MAX_CACHE": str(folder / ".cache"), "CXR_MAX_CONFIG": str(folder / ".config.toml")}
    done = subprocess.run(
        [sys.executable, "-c", code, *shlex.split(line)[1:]],
        cwd=folder,
        env={**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
