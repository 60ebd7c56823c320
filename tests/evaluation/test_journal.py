"""The journal survives kills at any byte, keeps the last answer of a key, and reads hostile text back."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_max.errors import DataError
from cxr_max.evaluation.journal import Journal, key_of
from cxr_max.evaluation.types import Failure, Output, Sample

SAMPLE = Sample("s1", "Is there an effusion?", (Path("a.jpg"),), ("yes", "no"))


def _model(**changes: Any) -> Any:
    return SimpleNamespace(**{"name": "m", "revision": "r1", "settings": {"k": 1}, **changes})


def test_answers_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add("a", Failure("timeout"), {"task": "t"})
        journal.add("a", Output("yes \u2028\n\x00\ud800", (0.5, float("-inf"))), {"task": "t"})
        journal.add("b", Failure("no image"), {})
    assert Journal(tmp_path / "j.jsonl").answers == {
        "a": Output("yes \u2028\n\x00\ud800", (0.5, float("-inf"))),
        "b": Failure("no image"),
    }
    assert (tmp_path / "j.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "other",
    [
        key_of("q2", SAMPLE, _model()),
        key_of("q", replace(SAMPLE, id="s2"), _model()),
        key_of("q", replace(SAMPLE, prompt="?"), _model()),
        key_of("q", replace(SAMPLE, images=(Path("b.jpg"),)), _model()),
        key_of("q", SAMPLE, _model(revision="r2")),
        key_of("q", SAMPLE, _model(settings={"k": 2})),
    ],
)
def test_the_key_changes_with_whatever_may_change_the_answer(other: str) -> None:
    assert key_of("q", SAMPLE, _model()) != other


def test_the_key_does_not_depend_on_where_the_images_lie() -> None:
    moved = replace(SAMPLE, images=(Path("elsewhere/a.jpg"),))
    assert key_of("q", moved, _model()) == key_of("q", SAMPLE, _model())


@given(cut=st.integers(0, 200))
def test_a_torn_last_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    with Journal(path) as journal:
        for i in range(3):
            journal.add(str(i), Output("x" * i), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(whole) - cut, 0)])
    kept = path.read_bytes().count(b"\n")
    with Journal(path) as journal:
        assert len(journal.answers) == kept
        journal.add("again", Output("y"), {})
    assert len(Journal(path).answers) == kept + 1


def test_a_broken_line_in_the_middle_is_an_error_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"key": "a", "output": "x", "scores": null}\nsecret text\n{"key": "b"}\n')
    with pytest.raises(DataError, match="line 2") as caught:
        Journal(path)
    assert "secret" not in str(caught.value)


def test_killed_while_writing_loses_only_the_line_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = (
        "import sys; from pathlib import Path; from cxr_max.evaluation.journal import Journal; "
        "from cxr_max.evaluation.types import Output\n"
        "with Journal(Path(sys.argv[1])) as j:\n"
        "    n = len(j.answers)\n"
        "    while True:\n"
        "        j.add(str(n), Output('x' * 5000), {}); n += 1\n"
    )
    seen = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], env={**os.environ})
        deadline = time.monotonic() + 30
        while (not path.exists() or path.stat().st_size < (seen + 3) * 5000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        journal = Journal(path)
        journal.close()
        assert len(journal.answers) > seen
        seen = len(journal.answers)
        assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == [str(i) for i in range(seen)]
