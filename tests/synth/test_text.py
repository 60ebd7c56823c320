"""Grammar and report text: slots filled, places kept, typos where asked, prompts that leave a label out."""

import json
import re
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max import prompts, synth
from cxr_max.schema import FINDINGS
from cxr_max.synth import grammar, labels
from cxr_max.synth.concepts import BOTH, LEFT, NONE, RIGHT, ZONES, concepts, phrases
from cxr_max.synth.reports import WIDTH, Report, _wrapped
from tests.synth.test_reader import table


@st.composite
def claims(draw: st.DrawFn) -> grammar.Claim:
    i = draw(st.integers(0, len(concepts()) - 1))
    concept = concepts()[i]
    sides = [code for code, share in zip((LEFT, RIGHT, BOTH, NONE), concept.sides, strict=True) if share > 0]
    zone = ZONES.index(draw(st.sampled_from(sorted(concept.zones)))) if concept.zones else -1
    status = "present" if concept.id == "no_finding" else draw(st.sampled_from(["present", "uncertain", "absent"]))
    side = NONE if status == "absent" else draw(st.sampled_from([*sides, NONE]))
    return grammar.Claim(i, status, side, zone, draw(st.integers(1, 3)))


@settings(max_examples=400, deadline=None)
@given(claims(), st.sampled_from(grammar.VOICES), st.integers(0, 10**6))
def test_a_clause_names_its_side_and_leaves_no_slot(claim: grammar.Claim, voice: str, seed: int) -> None:
    choice = grammar.choose(Random(seed), claim, voice)
    text = grammar.fill(choice, claim.side)
    assert not re.search(r"[{}*~@]|  | ,|\ba [aeiou]", text), text
    assert text[0].isupper() or text[0].isdigit()
    # Chambers of the heart are named right and left whatever the side of a finding.
    lungs = re.sub(r"\b(?:left|right) (?=atri|ventric)", "", text.lower())
    words = set(re.findall(r"\w+", lungs))
    if claim.status != "absent":
        assert ("left" in words) == (claim.side == LEFT) or claim.side == BOTH
        assert ("right" in words) == (claim.side == RIGHT) or claim.side == BOTH
    if claim.side in (LEFT, RIGHT):
        other = re.sub(
            r"\b(?:left|right) (?=atri|ventric)", "", grammar.fill(choice, LEFT + RIGHT - claim.side).lower()
        )
        swap = {"left": "right", "right": "left"}
        assert other == re.sub(r"\b(left|right)\b", lambda m: swap[m[0]], lungs)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcdefgh.,_", min_size=1, max_size=30), min_size=1, max_size=60), st.data())
def test_wrapping_keeps_every_character_where_the_map_says(words: list[str], data: st.DataObject) -> None:
    gaps = [data.draw(st.sampled_from([" ", "  ", "\n"])) for _ in words[1:]]
    text = words[0] + "".join(g + w for g, w in zip(gaps, words[1:], strict=True))
    wrapped, moved = _wrapped(text)
    assert all(line.startswith(" ") and len(line) <= WIDTH for line in wrapped.split("\n"))
    for place, letter in enumerate(text):
        if not letter.isspace():
            assert wrapped[moved(place)] == letter


def test_misspelled_worlds_keep_their_places(tmp_path: Path) -> None:
    synth.write_world(synth.WorldConfig(subjects=8, images=False, misspellings=0.8, seed=2), tmp_path / "w")
    texts = {}
    for path in (tmp_path / "w/raw").glob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            texts[row["image"][-48:-4], path.stem] = row["response"]
    rows = pl.read_parquet(tmp_path / "w/truth/assertions.parquet").filter(pl.col("start").is_not_null())
    odd = 0
    for row in rows.iter_rows(named=True):
        assert texts[row["instance_id"], row["teacher"]][row["start"] : row["end"]] == row["clause"]
        odd += any(short in row["clause"] for short in phrases()["abbreviations"].values())
    assert odd > 50


def test_no_typos_unless_asked() -> None:
    assert grammar.wrong_letters(Random(1), "A small left pleural effusion", 0.0) == "A small left pleural effusion"
    changed = {grammar.wrong_letters(Random(k), "A small left pleural effusion", 1.0) for k in range(50)}
    assert "A small left pl. eff." in changed
    assert "A small left pleural effusion" not in changed or len(changed) > 5


def test_prompts_name_positive_labels_and_some_leave_one_out(large: Path) -> None:
    rows = table(large / "mimic/mimic-cxr-2.0.0-chexpert.csv.gz")
    positive = {r["study_id"]: {f for f in FINDINGS if r[f] == "1.0"} - {"No Finding"} for r in rows}
    complete, omitted, kept_order = 0, 0, 0
    for line in (large / "raw/grok-4.jsonl").read_text().splitlines():
        row = json.loads(line)
        named = prompts.parse(row["prompt"])
        truth = positive.get(row["image"].split("/")[3][1:], set())
        assert prompts.render(named) == row["prompt"]
        if named == ("No Finding",):
            assert not truth
            continue
        assert set(named) <= truth
        kept_order += list(named) == sorted(named)
        complete += set(named) == truth
        omitted += set(named) < truth
    assert kept_order == complete + omitted
    assert 0.1 < omitted / (complete + omitted) < 0.4


def _report(*rows: tuple[str, str, str]) -> Report:
    return Report(rows=[(1, 2, section, "c", label, status) for section, label, status in rows], impression="x")


@pytest.mark.parametrize(
    ("statuses", "chexpert", "negbio"),
    [
        (("present",), 1.0, 1.0),
        (("absent",), 0.0, 0.0),
        (("uncertain",), -1.0, -1.0),
        (("absent", "uncertain"), -1.0, 0.0),
        (("absent", "present"), 1.0, 1.0),
        (("uncertain", "present"), 1.0, 1.0),
    ],
)
def test_labelers_aggregate_by_their_own_rules(statuses: tuple, chexpert: float, negbio: float) -> None:
    report = _report(*(("impression", "Edema", s) for s in statuses), ("findings", "Pneumonia", "present"))
    first = labels.chexpert(report, "")
    assert first["Edema"] == chexpert
    assert first["Pneumonia"] is None, "the impression is what is labelled"
    assert first["No Finding"] == (1.0 if statuses == ("absent",) else None)
    sure = Random(0)
    sure.random = lambda: 0.999
    assert labels.negbio(report, "", sure)["Edema"] == negbio


def test_devices_do_not_unset_no_finding() -> None:
    assert labels.chexpert(_report(("impression", "Support Devices", "present")), "")["No Finding"] == 1.0
    assert labels.chexpert(_report(), "all_empty")["No Finding"] is None
    assert labels.chexpert(_report(), "unusable") is None
    assert labels.radiologist(_report(), "change_only")["No Finding"] == -1.0
