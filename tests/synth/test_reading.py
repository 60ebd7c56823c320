"""The grammar reads back what it wrote: every assertion of every teacher, and nothing that was not asserted."""

import json
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest

from cxr_max import synth
from cxr_max.synth import reading
from cxr_max.teachers import get_teacher


@pytest.mark.parametrize("length", [1.0, 0.2])
def test_every_assertion_is_read_and_nothing_else(tmp_path: Path, length: float) -> None:
    synth.write_world(synth.WorldConfig(subjects=12, seed=5, images=False, length=length), tmp_path)
    rows = pl.read_parquet(tmp_path / "truth" / "assertions.parquet").filter(pl.col("outcome") != "missed")
    truth = defaultdict(set)
    for r in rows.iter_rows(named=True):
        truth[r["instance_id"], r["teacher"]].add((r["concept"], r["label"], r["status"], r["side"]))
    n = 0
    for file in sorted((tmp_path / "raw").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            key = Path(row["image"]).stem, get_teacher(row["teacher"]).id
            assert {tuple(c) for c in reading.claims(row["response"])} == truth.get(key, set())
            n += len(truth.get(key, ()))
    assert n > 500


@pytest.mark.parametrize(
    "text",
    ["", "Edema.", "There is no", "There is a small left pleural effusionn.", "Consolidation can be caused by x."],
)
def test_other_sentences_say_nothing(text: str) -> None:
    assert reading.claims(text) == ()


def test_shorter_essays_keep_their_claims(tmp_path: Path) -> None:
    words, said = {}, {}
    for length in (1.0, 0.2):
        out = tmp_path / str(length)
        synth.write_world(synth.WorldConfig(subjects=12, seed=5, images=False, length=length), out)
        words[length] = pl.read_parquet(out / "truth" / "trajectories.parquet")["n_words"].mean()
        assertions = pl.read_parquet(out / "truth" / "assertions.parquet").filter(~pl.col("template").is_null())
        said[length] = assertions.select("instance_id", "teacher", "concept", "status").unique().height
    assert words[0.2] < 0.6 * words[1.0]
    assert said[0.2] == said[1.0]
