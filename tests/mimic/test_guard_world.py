"""The guard on a synthetic world: what is planted is found exactly when the definition calls it a leak."""

import base64
import html
import json
import random
from pathlib import Path

import polars as pl
import pytest

from cxr_max import synth
from cxr_max.mimic.guard import guard
from cxr_max.mimic.layout import open_root
from cxr_max.mimic.leaks.phrases import FEW
from cxr_max.mimic.leaks.scan import TEXT
from cxr_max.mimic.leaks.words import LONG, SHINGLE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("guard") / "world"
    synth.write_world(synth.WorldConfig(subjects=80, images=False, seed=5), out)
    return out


def _words(text: str) -> list[str]:
    return "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in text).split()


def _reports(world: Path) -> list[tuple[str, str, str]]:
    """Patient, text, and its words between single spaces."""
    files = sorted((world / "mimic" / "files").rglob("s*.txt"))
    return [(f.parent.name, f.read_text(), f" {' '.join(_words(f.read_text()))} ") for f in files]


def _is_leak(words: list[str], reports: list[tuple[str, str, str]]) -> bool:
    """By the definition, with plain search: any run of 12 or more words in at most 2 patients' reports, or of 30."""
    everything = "|".join(text for _, _, text in reports)
    for start in range(len(words)):
        if f" {' '.join(words[start : start + SHINGLE])} " not in everything:
            continue
        for end in range(start + SHINGLE, len(words) + 1):
            run = f" {' '.join(words[start:end])} "
            holders = {patient for patient, _, text in reports if run in text}
            if holders and (len(holders) <= FEW or end - start >= LONG):
                return True
            if not holders:
                break
    return False


def test_planted_passages(world: Path, tmp_path: Path) -> None:
    reports, rng = _reports(world), random.Random(7)
    out = tmp_path / "out"
    out.mkdir()
    leaks, rows = {}, []
    for i in range(300):
        own = rng.choice(reports)[2].split()
        start = rng.randrange(max(len(own) - SHINGLE, 1))
        passage = own[start : start + rng.randint(SHINGLE - 1, 36)]
        leaks[i] = _is_leak(passage, reports)
        rows.append(f"Zq{rng.choice([' ', chr(10), ' **', ', '])}{' '.join(passage)}. Zq")
    assert 60 < sum(leaks.values()) < 295
    pl.DataFrame({"text": rows}).write_parquet(out / "rows.parquet")
    (out / "lines.jsonl").write_text("".join(json.dumps({"t": row}) + "\n" for row in rows))
    (out / "page.html").write_text("".join(f"<p>{html.escape(r).replace(chr(10), ' ')}</p>\n" for r in rows))
    report = guard(out, open_root(world / "mimic"))
    found = {name: set() for name in ("rows.parquet", "lines.jsonl", "page.html")}
    for leak in report.leaks:
        assert leak.kind == TEXT
        number = int(leak.at.removeprefix("row ").removeprefix("line ").partition(",")[0])
        found[Path(leak.where).name].add(number - 1)
    for name, numbers in found.items():
        assert numbers == {i for i, leak in leaks.items() if leak}, name


def test_trajectories_raise_no_alarm_that_the_definition_does_not(world: Path) -> None:
    reports = _reports(world)
    report = guard(world / "raw", open_root(world / "mimic"))
    assert set(report.found) <= {TEXT}
    assert report.stock > 0
    marked = {(Path(k.where).name, int(k.at.removeprefix("line ").partition(",")[0]) - 1) for k in report.leaks}
    for file in sorted((world / "raw").glob("*.jsonl")):
        rows = file.read_text().splitlines()
        for number in sorted({n for name, n in marked if name == file.name})[:10]:
            assert _is_leak(_words(json.loads(rows[number])["response"]), reports)
        clean = [n for n in range(len(rows)) if (file.name, n) not in marked]
        for number in clean[:6]:
            assert not _is_leak(_words(json.loads(rows[number])["response"]), reports)


def test_a_mark_of_synthetic_data_hides_nothing(world: Path, tmp_path: Path) -> None:
    text = _reports(world)[0][1]
    row = {"trajectory": text, "synthetic": True, "image": base64.b64encode(text.encode()).decode()}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    assert TEXT in guard(tmp_path / "x.jsonl", open_root(world / "mimic")).found


@pytest.mark.slow
def test_ten_thousand_synthetic_instances(tmp_path: Path) -> None:
    out = tmp_path / "world"
    synth.write_world(synth.WorldConfig(instances=10_000, images=False, seed=0), out)
    reports = _reports(out)
    report = guard(out / "raw", open_root(out / "mimic"))
    assert report.stock > 1_000
    # No alarm is a stock phrase, and no trajectory without one holds a leak: by plain search, on some of each.
    marked = {(k.where, int(k.at.removeprefix("line ").partition(",")[0]) - 1) for k in report.leaks}
    rng = random.Random(0)
    for file in sorted((out / "raw").glob("*.jsonl")):
        rows = file.read_text(encoding="utf-8").splitlines()
        mine = sorted(n for where, n in marked if where == str(file))
        clean = sorted(set(range(len(rows))) - set(mine))
        for number in [*rng.sample(mine, min(1, len(mine))), *rng.sample(clean, 1)]:
            assert _is_leak(_words(json.loads(rows[number])["response"]), reports) == (number in mine)
