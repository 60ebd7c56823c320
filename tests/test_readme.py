"""Every command of the README works, in the order in which it stands there, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def steps(text: str) -> list[str]:
    """Commands of the shell blocks, without comments, and whole Python blocks, in order."""
    found = []
    for language, block in BLOCK.findall(text):
        lines = (line.partition(" #")[0].strip() for line in block.splitlines())
        found += [block] if language else [line for line in lines if line and not line.startswith("#")]
    return found


README = steps((ROOT / "README.md").read_text(encoding="utf-8"))
SHELL = [s for s in README if "\n" not in s]


def test_make_commands_are_what_continuous_integration_runs() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in (c for c in SHELL if c.startswith("make ")):
        target = line.split()[1]
        assert f"make {target}" in ci
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_command_is_of_a_known_kind() -> None:
    assert {c.split()[0] for c in SHELL} <= {"make", "cxr-max", "pip"}
    assert any(c.startswith("cxr-max") for c in SHELL)


def run(step: str, folder: Path) -> subprocess.CompletedProcess[str]:
    shell = "from cxr_max.cli import main; main()"
    call = [step] if "\n" in step else [shell, *shlex.split(step)[1:]]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"CXR_MAX_CACHE": str(folder / ".cache"), "CXR_MAX_CONFIG": str(folder / ".config.toml"), "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", *call],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_step_works_in_the_order_in_which_it_stands(tmp_path: Path) -> None:
    """One test, since each step needs what the ones before it made."""
    done = [s for s in README if not s.startswith(("make ", "pip "))]
    assert len(done) > 8
    for step in done:
        ran = run(step, tmp_path)
        assert ran.returncode == 0, f"{step}\n{ran.stderr}"
