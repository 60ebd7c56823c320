"""`mimic check`: what is there, which version, what is missing and what that disables."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_max import mimic
from cxr_max.mimic.layout import EVALUATION_FILES, KINDS, TABLE_FILES
from cxr_max.mimic.stock import DISABLES
from tests.mimic import world


def run(*args: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from cxr_max.cli import main; sys.argv[0] = 'cxr-max'; main()"
    return subprocess.run([sys.executable, "-c", code, "mimic", *args], capture_output=True, text=True, check=False)


def test_every_part_is_in_the_table() -> None:
    assert set(DISABLES) == {*KINDS, *TABLE_FILES, "sums", *EVALUATION_FILES}


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    parts = {p.part: p for p in mimic.check(mimic.open_root(world.write_world(tmp_path))).parts}
    assert {name for name, p in parts.items() if p.found} == {
        "jpg", "reports", "metadata", "split", "chexpert", "negbio", "radiologist",
    }  # fmt: skip
    assert parts["chexpert"].version == "2.1.0"
    assert parts["dicom"].disables
    assert "hashes" in (parts["sums"].disables or "")


def test_without_any_image_all_images_are_disabled(tmp_path: Path) -> None:
    world.write_tables(tmp_path)
    parts = {p.part: p for p in mimic.check(mimic.open_root(tmp_path)).parts}
    assert "neither" in (parts["jpg"].disables or "")


def test_on_the_command_line(tmp_path: Path) -> None:
    world.write_world(tmp_path)
    done = run("check", "--mimic-root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "verifying hashes" in done.stdout.replace("\n", " ")
    asked = json.loads(run("check", "--root", f"mimic-cxr-jpg={tmp_path}", "--json").stdout)
    assert asked["versions"]["mimic-cxr-jpg"] == "2.1.0"
    assert len(asked["parts"]) == len(DISABLES)


@pytest.mark.parametrize(("args", "code"), [([], 3), (["--mimic-root", "."], 3), (["--root", "x=."], 2)])
def test_exit_codes(args: list[str], code: int, tmp_path: Path) -> None:
    empty = [a.replace(".", str(tmp_path)) for a in args]
    done = run("check", *empty)
    assert done.returncode == code
    assert "next:" in done.stderr
