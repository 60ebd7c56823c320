"""The page of benchmarks says what the result files say, what was missed included."""

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks import page

RESULT = {
    "benchmark": "x", "command": "python -m benchmarks.x", "commit": "0123456789ab", "modified": True,
    "date": "2026-01-02", "machine": {"cores": 2, "memory_gib": 23.5, "processor": "x86_64", "python": "3.11.7"},
    "load_at_start": 3.25, "versions": {"cxr-max": "0.1.0"},
    "figures": {"lexicon_version": "3", "ratio": 2.0, "f1": [0.91234, 0.9, 0.92], "none": [None],
                "peer": {"versions": {"spacy": "3.8"}, "s": 4.0}},
}  # fmt: skip

LATER = ["the same, shared pages counted once, MiB"]
"""Rows whose figure the stored result does not hold yet: it was added to the benchmark after its last run."""


def test_the_page_is_what_the_results_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "python -m benchmarks.page"


def test_every_row_is_well_formed() -> None:
    rows = tomllib.loads(page.ROWS.read_text(encoding="utf-8"))["row"]
    for row in rows:
        assert set(row) <= {"result", "what", "peer", "figure", "over", "asked"}, row
        assert not row.get("asked") or row["asked"].split()[0] in (">=", "<=", ">", "<"), row
        assert not any("|" in str(v) for v in row.values())
    every = page.results()
    # A row whose figure is gone is left out of the page; none of the committed results may lose one unseen.
    lost = [r["what"] for r in rows if r["result"] in every and page.value(r, every[r["result"]]["figures"]) is None]
    assert lost == LATER


@pytest.mark.parametrize(
    ("asked", "numbers", "ok"),
    [
        (">= 2", [2.0], True), (">= 2", [1.99], False), ("<= 1.2", [1.2, 1.0, 1.4], True),
        ("> 0", [0.1, -0.1, 0.3], False),
        ("> 0", [0.1, 0.01, 0.3], True), ("< 5", [5.0], False),
    ],
)  # fmt: skip
def test_what_is_reached(asked: str, numbers: list[float], ok: bool) -> None:
    assert page.reached(asked, numbers) is ok


def test_rows_of_a_result(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(RESULT))
    (tmp_path / "unnamed.json").write_text(json.dumps({**RESULT, "load_at_start": 0.2, "modified": False}))
    every = page.results(tmp_path)
    rows = [
        {"result": "x", "what": "a ratio", "peer": "them", "figure": ["ratio"], "asked": ">= 4"},
        {"result": "x", "what": "a score", "figure": ["f1"], "asked": ">= 0.9"},
        {"result": "x", "what": "a share", "figure": ["ratio"], "over": ["peer", "s"]},
        {"result": "x", "what": "not there", "figure": ["peer", "ratio"]},
        {"result": "x", "what": "undefined", "figure": ["none"]},
        {"result": "x", "what": "one of a list", "figure": ["f1", 1]},
        {"result": "x", "what": "beyond the list", "figure": ["f1", 7]},
        {"result": "y", "what": "no such result", "figure": ["ratio"]},
    ]
    assert page.table(every, rows)[2:] == [
        "| a ratio | 2 | them | >= 4 | **missed** | `x` |",
        "| a score | .912 [.9, .92] |  | >= 0.9 | reached | `x` |",
        "| a share | .5 |  |  |  | `x` |",
        "| one of a list | .9 |  |  |  | `x` |",
    ]
    lines = page.sources(every)
    assert "`0123456789ab` with changes | 2026-01-02 | 3.2 (loaded)" in lines[-1]
    assert "0.2 (idle)" in lines[-2]
    assert lines[-1].endswith("cxr-max 0.1.0, lexicon 3, spacy 3.8 |")
    assert "`unnamed`" in page.render(tmp_path)


def test_cases_that_were_measured_apart_are_told_apart(tmp_path: Path) -> None:
    cases = {"main": {"commit": "aaaa"}, "more": {"commit": "aaaa"}, "late": {"commit": "bbbb"}}
    (tmp_path / "x.json").write_text(json.dumps({**RESULT, "load_at_start": 0.2, "figures": {"cases": cases}}))
    line = page.sources(page.results(tmp_path))[-1]
    assert "`aaaa` (main, more), `bbbb` (late) with changes" in line
    assert "0.2 (idle) for the last cases, not recorded for the others" in line
