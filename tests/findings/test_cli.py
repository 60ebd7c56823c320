"""`cxr-max findings` from the outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = "Small left effusion. No pneumothorax; possible edema."


def run(*args: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    code = "import sys; from cxr_max.cli import main; sys.argv[0] = 'cxr-max'; main()"
    data = stdin.encode() if isinstance(stdin, str) else stdin
    command = [sys.executable, "-c", code, "findings", *args]
    wide = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(command, input=data, capture_output=True, check=False, env=wide)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_table_marks_text_and_names_everything() -> None:
    done = run(TEXT)
    assert done.returncode == 0
    assert TEXT in done.stdout
    for word in ("pleural_effusion", "left", "uncertain", "absent", "phrase/neg:no", "Pneumothorax 0", "lexicon"):
        assert word in done.stdout


@pytest.mark.parametrize("how", ["text", "file", "stdin"])
def test_json_of_text_file_and_standard_input(how: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text(TEXT, encoding="utf-8")
    done = run(*{"text": [TEXT], "file": [str(file)], "stdin": ["-"]}[how], "--json", stdin=TEXT)
    report = json.loads(done.stdout)
    assert [(f["concept"], f["status"], f["side"], f["step"]) for f in report["findings"]] == [
        ("pleural_effusion", "present", "left", 0),
        ("pneumothorax", "absent", None, 1),
        ("edema", "uncertain", None, 1),
    ]
    assert report["labels"]["Edema"] == -1
    assert not report["refusal"]


def test_refusal_is_said() -> None:
    assert "refusal" in run("I'm sorry, but I cannot provide a medical interpretation of this image.").stdout


def test_bad_input_ends_with_the_right_code(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(b"\xff\xfe caf\xe9")
    assert run(str(file)).returncode == 3
    wrong = run(TEXT, "--role", "judge")
    assert wrong.returncode == 2
    assert "candidate, reference" in wrong.stderr
    absent = run(str(tmp_path / "absent.txt"))
    assert absent.returncode == 3
    assert "no file at" in absent.stderr
    assert run("").returncode == 0
    assert run("x" * 5000 + " effusion").returncode == 0
