"""The command line as a user meets it: help, exit codes, start-up time and what it loads."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr_max import cli

HEAVY = ("torch", "transformers", "datasets", "polars", "pyarrow", "pydicom")


def _run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from cxr_max.cli import main; sys.argv[0] = 'cxr-max'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def _loaded(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def _seconds(*args: str) -> float:
    """Median of five start-ups, in processor seconds, so that a busy machine does not fail the test."""
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, *args], capture_output=True, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(times)


def test_importing_the_package_loads_nothing_heavy_and_is_fast() -> None:
    assert _loaded("import cxr_max") == []
    assert _seconds("-c", "import cxr_max") < 0.3


@pytest.mark.parametrize("args", [["--help"], *([v, "--help"] for v in cli.verbs())], ids=" ".join)
def test_help_loads_nothing_heavy_and_shows_an_example(args: list[str]) -> None:
    code = "import sys, atexit; from cxr_max.cli import main\n"
    code += f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules]))\n"
    code += f"sys.argv = ['cxr-max', *{args!r}]; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Example:" in done.stdout


@pytest.mark.parametrize("args", [["--help"], ["doctor", "--help"]], ids=" ".join)
def test_help_is_fast(args: list[str]) -> None:
    assert _seconds("-c", "from cxr_max.cli import main; main()", *args) < 0.7


def test_every_verb_defines_a_command_or_a_group() -> None:
    group = cli.application()
    names = {c.name for c in group.registered_commands} | {g.name for g in group.registered_groups}
    assert names == set(cli.verbs())


def test_version() -> None:
    assert _run("--version").stdout.startswith("cxr-max ")


def test_doctor_prints_json_and_the_table() -> None:
    assert json.loads(_run("doctor", "--json").stdout)["python"]
    shown = _run("doctor")
    assert shown.returncode == 0, shown.stderr
    assert "Possible on this machine" in shown.stdout


def test_doctor_fails_when_a_root_is_broken() -> None:
    done = _run("doctor", CXR_MAX_ROOTS="open-i=/nowhere/at/all")
    assert done.returncode == 1
    assert "no folder" in done.stdout


def test_roots_are_set_and_shown(tmp_path: Path) -> None:
    assert _run("roots", "set", "open-i", str(tmp_path)).returncode == 0
    assert json.loads(_run("roots", "show", "--json").stdout) == [
        {"name": "open-i", "path": str(tmp_path), "origin": "config"}
    ]
    assert "MS-CXR-T" in _run("roots", "show").stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nope"], 2, "No such command"),
        (["roots", "set", "nope", "."], 2, "known: "),
        (["roots", "set", "open-i", "/nowhere/at/all"], 3, "no folder at"),
        (["roots", "set", "open-i"], 2, "Missing argument"),
    ],
)
def test_wrong_use_exits_as_promised_and_without_a_traceback(args: list[str], code: int, said: str) -> None:
    done = _run(*args)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_start_up_in_wall_time_is_reported() -> None:
    begun = time.monotonic()
    assert _run("--help").returncode == 0
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("args", "next_step"),
    [
        (["findings", "Edema.", "--role", "judge"], "cxr-max findings --help"),
        (["roots", "set", "nowhere", "x"], "cxr-max roots show"),
        (["drift", "x", "--out", "y", "--by", "nothing"], "cxr-max drift --help"),
        (["mimic", "check", "--root", "nothing"], "cxr-max roots show"),
        (["eval", "--model", "nothing", "--tasks", "zero_shot_open_i", "--out", "y"], "cxr-max eval --help"),
    ],
    ids=lambda a: a[0] if isinstance(a, list) else "",
)
def test_every_error_ends_with_what_to_do(args: list[str], next_step: str) -> None:
    done = _run(*args)
    assert done.returncode in (2, 3)
    assert done.stderr.strip().splitlines()[-1].startswith("  next: ")
    assert next_step in done.stderr


def test_an_error_of_another_package_is_named_and_not_quoted(tmp_path: Path) -> None:
    code = "import cxr_max.cli, cxr_max.doctor\ndef examine(): raise KeyError('SECRET TEXT')\n"
    code += "cxr_max.doctor.examine = examine\nimport sys; sys.argv = ['cxr-max', 'doctor']; cxr_max.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "KeyError" in done.stderr
    assert "SECRET" not in done.stdout + done.stderr
    shown = {**os.environ, cli.TRACEBACK: "1"}
    whole = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=shown)
    assert "SECRET TEXT" in whole.stderr
