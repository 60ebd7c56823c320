"""The truth tables say exactly what is in the texts."""

import re
from pathlib import Path

import polars as pl

from cxr_max.synth import grammar
from cxr_max.synth.concepts import concepts
from cxr_max.synth.truth import ORIGINS, OUTCOMES
from cxr_max.teachers import TEACHER_IDS, find_teacher


def _truth(world: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(world / "truth" / f"{name}.parquet")


def test_every_span_holds_its_clause(world: Path, raw: dict) -> None:
    rows = _truth(world, "assertions").filter(pl.col("start").is_not_null())
    assert len(rows) > 1000
    for row in rows.iter_rows(named=True):
        text = raw[row["instance_id"], row["teacher"]]["response"]
        assert text[row["start"] : row["end"]] == row["clause"]


def test_report_spans_hold_their_clauses(world: Path) -> None:
    rows = _truth(world, "reports")
    for row in rows.iter_rows(named=True):
        subject = str(row["subject_id"])
        path = world / f"mimic/files/p{subject[:2]}/p{subject}/s{row['study_id']}.txt"
        assert path.read_text(encoding="utf-8")[row["start"] : row["end"]] == row["clause"]


def _steps(text: str) -> list[tuple[int, int]]:
    """Sentences and list items of a trajectory, found anew: lines that are no headings, cut after full stops."""
    out = []
    for line in re.finditer(r"[^\n]+", text):
        body = line.group()
        if body.startswith("#") or re.fullmatch(r"\*\*[^.]*\*\*|\*\*\d+\. [^.]*\*\*", body):
            continue
        start = line.start()
        for stop in re.finditer(r"(?<!i\.e)(?<!eff)[.?](\*\*)?(?= |$)", body):
            out.append((start, line.start() + stop.end()))
            start = line.start() + stop.end()
    return out


def test_every_step_is_the_sentence_that_holds_the_clause(world: Path, raw: dict) -> None:
    counts = {(r["instance_id"], r["teacher"]): r for r in _truth(world, "trajectories").iter_rows(named=True)}
    cut = {}
    for key, row in raw.items():
        cut[key] = _steps(row["response"])
        assert len(cut[key]) == counts[key]["n_steps"]
        assert len(row["response"].split()) == counts[key]["n_words"]
        assert 100 <= counts[key]["n_words"] <= 650
    for row in _truth(world, "assertions").filter(pl.col("start").is_not_null()).iter_rows(named=True):
        start, end = cut[row["instance_id"], row["teacher"]][row["step"]]
        assert start <= row["start"] < row["end"] <= end


def test_enumerations_and_nulls(world: Path) -> None:
    rows = _truth(world, "assertions")
    assert set(rows["outcome"]) <= set(OUTCOMES)
    assert set(rows["origin"]) <= set(ORIGINS)
    assert set(rows["status"]) <= {"present", "uncertain", "absent"}
    wrong = rows.filter(pl.col("outcome") != "right")
    assert wrong["twin"].null_count() == 0
    assert set(wrong["origin"]) == {"shared", "private"}
    right = rows.filter(pl.col("outcome") == "right")
    assert right["twin"].null_count() == len(right)
    assert set(right["origin"]) == {"none"}
    missed = rows.filter(pl.col("outcome") == "missed")
    assert missed["start"].null_count() == missed["step"].null_count() == missed["clause"].null_count() == len(missed)


def test_outcomes_follow_from_the_states(world: Path) -> None:
    """Judge every assertion anew from the states alone."""
    instances = _truth(world, "trajectories").select("instance_id", "study_id").unique()
    states: dict[int, dict[str, set]] = {}
    for row in _truth(world, "states").iter_rows(named=True):
        states.setdefault(row["study_id"], {}).setdefault(row["concept"], set()).add(row["side"])
    study = dict(instances.iter_rows())
    for row in _truth(world, "assertions").iter_rows(named=True):
        sides = states.get(study[row["instance_id"]], {}).get(row["concept"], set())
        if row["outcome"] == "missed":
            assert row["side"] in sides
        elif row["status"] == "absent":
            assert row["outcome"] == ("flipped_status" if sides else "right")
        elif not sides:
            assert row["outcome"] == "invented"
        elif row["side"] is None or row["side"] in sides:
            assert row["outcome"] == "right"
        else:
            assert row["outcome"] == "flipped_side"


def test_a_refusal_asserts_nothing(world: Path) -> None:
    essays = _truth(world, "trajectories")
    refused = essays.filter(pl.col("refusal"))
    declined = essays.filter(pl.col("declined"))
    assert 0 < len(declined) < len(refused) < 0.3 * len(essays)
    assert declined["refusal"].all()
    assert set(declined["declined_origin"]) <= {"shared", "private"}
    said = _truth(world, "assertions").filter(pl.col("outcome") != "missed").select("instance_id", "teacher").unique()
    assert len(said) + len(refused) == len(essays)
    rows = _truth(world, "assertions").join(refused, on=["instance_id", "teacher", "generation"])
    assert set(rows["outcome"]) <= {"missed"}


def test_raw_rows_are_marked_and_name_known_teachers(raw: dict) -> None:
    assert {key[1] for key in raw} == set(TEACHER_IDS)
    for (_, stem), row in raw.items():
        assert row["synthetic"] is True
        assert row["seed"] == 3
        teacher = find_teacher(row["teacher"])
        assert teacher is not None
        assert teacher.id == stem
        assert "generation" not in row


def test_at_least_thirty_percent_of_the_whole_clauses_per_finding_are_held_out(world: Path) -> None:
    for concept in concepts():
        for voice in grammar.VOICES:
            clauses = {t.text: t.held_out for c, v, _, t in grammar.inventory() if (c, v) == (concept.id, voice)}
            assert sum(clauses.values()) >= 0.3 * len(clauses), (concept.id, voice)
            assert len(clauses) >= 10
    marks = {(c, t.text.lower()): t.held_out for c, _, _, t in grammar.inventory()}
    assert all(marks[c, t.text.lower()] == t.held_out for c, _, _, t in grammar.inventory())
    for table in ("assertions", "reports"):
        rows = _truth(world, table).filter(pl.col("clause").is_not_null())
        known = [r for r in rows.iter_rows(named=True) if (r["concept"], r["template"].lower()) in marks]
        assert len(known) > 0.6 * len(rows)
        assert all(marks[r["concept"], r["template"].lower()] == r["held_out"] for r in known)
