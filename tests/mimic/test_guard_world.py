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


class _Search:
    """Runs of words in reports by plain look-up, independent of the guard: a report index per 12 words."""

    def __init__(self, reports: list[tuple[str, str, str]]) -> None:
        self.reports = reports
        self.index: dict[str, list[int]] = {}
        for number, (_, _, text) in enumerate(reports):
            words = text.split()
            for shingle in {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}:
                self.index.setdefault(shingle, []).append(number)

    def leaks(self, words: list[str]) -> bool:
        """By the definition, as `_is_leak`."""
        for start in range(len(words) - SHINGLE + 1):
            holding = self.index.get(" ".join(words[start : start + SHINGLE]), [])
            for end in range(start + SHINGLE, len(words) + 1):
                run = f" {' '.join(words[start:end])} "
                holding = [n for n in holding if run in self.reports[n][2]]
                if not holding:
                    break
                if end - start >= LONG or len({self.reports[n][0] for n in holding}) <= FEW:
                    return True
        return False


@pytest.mark.slow
def test_ten_thousand_synthetic_instances_give_no_alarm_on_stock_phrases(tmp_path: Path) -> None:
    """Each of 70,000 trajectories: reported exactly when it holds a leak by the definition, else passed over.

    Reports and teachers of the synthetic world share their negated clauses. One of them is a stock phrase; two of them
    in the same order make a run of 12 words and more that few patients' reports hold, which the definition calls a
    leak, wherever it came from. So there are alarms here, none of them on a stock phrase.
    """
    out = tmp_path / "world"
    synth.write_world(synth.WorldConfig(instances=10_000, images=False, seed=0), out)
    search = _Search(_reports(out))
    report = guard(out / "raw", open_root(out / "mimic"))
    assert report.stock > 1_000
    assert set(report.found) <= {TEXT}
    marked = {(k.where, int(k.at.removeprefix("line ").partition(",")[0]) - 1) for k in report.leaks}
    stock = 0
    for file in sorted((out / "raw").glob("*.jsonl")):
        for number, row in enumerate(file.read_text(encoding="utf-8").splitlines()):
            words = _words(json.loads(row)["response"])
            assert search.leaks(words) == ((str(file), number) in marked), (file.name, number)
            shared = any(" ".join(words[i : i + SHINGLE]) in search.index for i in range(len(words)))
            stock += shared and (str(file), number) not in marked
    assert stock > 1_000


def test_the_plain_search_of_the_large_test_agrees_with_the_plainer_one(world: Path) -> None:
    reports, rng = _reports(world), random.Random(3)
    search = _Search(reports)
    verdicts = []
    for _ in range(200):
        own = rng.choice(reports)[2].split()
        start = rng.randrange(max(len(own) - SHINGLE, 1))
        words = ["zq", *own[start : start + rng.randint(SHINGLE - 1, 36)], "zq"]
        verdicts.append(_is_leak(words, reports))
        assert search.leaks(words) == verdicts[-1]
    assert 0 < sum(verdicts) < 200
