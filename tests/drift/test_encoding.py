"""Arrays against texts: sets of cells, flips, label states, shards, stored tables."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_max import data, drift, findings
from cxr_max.drift import flips, layout, per_teacher, reading
from cxr_max.drift.config import LEVELS, MODES, POLICIES
from cxr_max.drift.encoded import Encoded, Findings, label_states
from cxr_max.drift.sources import TextTables
from cxr_max.drift.stats import finding_alignment
from cxr_max.errors import DataError
from cxr_max.findings.entail import contradictions
from cxr_max.schema import FINDINGS, STATUSES


@pytest.fixture(scope="module")
def sample(tables: TextTables, encoded: Encoded) -> list[tuple[int, str]]:
    """Row, trajectory and report of some trajectories."""
    rows = tables.scan("trajectories").join(tables.scan("references"), on="instance_id").collect()
    where = {
        (encoded.instance_id[i], encoded.vocabulary.teachers[u]): t
        for t, (i, u) in enumerate(zip(encoded.instance_T, encoded.teacher_T, strict=True))
    }
    picked = rows.sample(60, seed=3, shuffle=True)
    return [(where[r["instance_id"], r["teacher"]], r["trajectory"]) for r in picked.iter_rows(named=True)]


def said_of(row: dict[str, str | None]) -> list[findings.Finding]:
    return [
        f for s in ("findings", "impression") if row[s] for f in findings.extract(row[s], role="reference").findings
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("unc", POLICIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hierarchy", [False, True])
def test_bits_score_like_the_plain_definition(
    level: str,
    unc: str,
    mode: str,
    hierarchy: bool,
    tables: TextTables,
    encoded: Encoded,
    sample: list[tuple[int, str]],
) -> None:
    config = drift.Config(level=level, unc=unc, mode=mode, hierarchy=hierarchy)
    scored = per_teacher.score(encoded, config)
    overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, encoded))
    reports = {r["instance_id"]: said_of(r) for r in tables.scan("references").collect().iter_rows(named=True)}
    for t, text in sample[:25]:
        report = reports[encoded.instance_id[encoded.instance_T[t]]]
        slow = findings.alignment(
            findings.extract(text),
            report,
            level=level,
            unc=unc,
            mode=mode,
            hierarchy=hierarchy,  # type: ignore[arg-type]
        )
        assert tuple(int(part[t]) for part in overlap) == (slow.entailed_c, slow.n_c, slow.entailed_r, slow.n_r)


def test_flips_are_the_contradictions_of_the_plain_definition(
    tables: TextTables, encoded: Encoded, sample: list[tuple[int, str]]
) -> None:
    counts = flips.compute(encoded, per_teacher.reference_of(encoded, "both"), "pos")
    reports = {r["instance_id"]: said_of(r) for r in tables.scan("references").collect().iter_rows(named=True)}
    total = 0
    for t, text in sample:
        said = findings.extract(text).findings
        status, side = contradictions(said, reports[encoded.instance_id[encoded.instance_T[t]]])
        assert (int(counts.negation[t]), int(counts.laterality[t])) == (len(status), len(side))
        assert counts.contradicted[t] == len(status | side)
        assert counts.asserted[t] == len({f.concept for f in said})
        total += len(status | side)
    assert total > 0


def test_label_states_follow_the_labeller(encoded: Encoded, sample: list[tuple[int, str]]) -> None:
    states = label_states(encoded.findings, encoded.n_trajectories, encoded.vocabulary, encoded.refusal_T)
    code = {1: "present", -1: "uncertain", 0: "absent"}
    for t, text in sample:
        by_label: dict[str, list[str]] = {}
        for f in findings.extract(text).findings:
            if f.label:
                by_label.setdefault(f.label, []).append(f.status)
        for position, label in enumerate(FINDINGS):
            if label == "No Finding":
                continue
            seen = set(by_label.get(label, ()))
            want = None
            if {"uncertain", "absent"} <= seen:
                want = "uncertain"
            elif seen:
                want = next(s for s in ("present", "uncertain", "absent") if s in seen)
            got = int(states[t, position])
            assert (STATUSES[got] if got >= 0 else None) == want
    assert set(code.values()) == set(STATUSES)


def same(a: Encoded, b: Encoded, *, but: tuple[str, ...] = ("shard",)) -> None:
    for f in fields(Encoded):
        if f.name in but:
            continue
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, dict):
            assert x.keys() == y.keys()
            for k in x:
                np.testing.assert_array_equal(x[k], y[k])
        elif isinstance(x, tuple) and f.name != "vocabulary":
            for p, q in zip(x, y, strict=True):
                parts = zip(p, q, strict=True) if isinstance(p, tuple) else [(p, q)]
                for r, s in parts:
                    np.testing.assert_array_equal(r, s)
        else:
            np.testing.assert_array_equal(x, y) if f.name != "vocabulary" else _equal(x, y)


def _equal(x: object, y: object) -> None:
    assert x == y


@pytest.mark.parametrize("n", [2, 5])
def test_merged_shards_are_the_whole(n: int, tables: TextTables, encoded: Encoded, report: drift.DriftReport) -> None:
    parts = [drift.encode(tables, drift.Config(), shard=(s, n)) for s in range(n)]
    assert all(0 < p.n_instances < encoded.n_instances for p in parts)
    merged = drift.merge(parts[::-1])
    same(merged, encoded)
    if n == 2:
        again = drift.from_encoded(merged, report.config, tables.manifest)
        for name in ("teachers", "pairs", "findings", "steps", "tests"):
            assert getattr(again, name).equals(getattr(report, name), null_equal=True), name


def test_merging_needs_something_alike(encoded: Encoded) -> None:
    with pytest.raises(DataError, match="nothing to merge"):
        drift.merge([])
    other = replace(encoded, vocabulary=replace(encoded.vocabulary, teachers=("x",)))
    with pytest.raises(DataError, match="vocabularies"):
        drift.merge([encoded, other])


def test_stored_tables_equal_extraction(release: Path) -> None:
    opened = data.open_release(release)
    assert {"findings", "steps"} <= set(opened.tables)
    stored = drift.encode(opened, drift.Config())
    fresh = drift.encode(opened, drift.Config(), fresh=True)
    same(stored, fresh)
    assert len(stored.findings.row) > 1000


def test_an_unknown_concept_of_a_stored_table_is_kept() -> None:
    keys = {"instance_id": ["a"], "teacher": ["t"], "generation": [0]}
    tables = {
        "instances": pl.DataFrame(
            {"instance_id": ["a"], "subject_id": [1], "study_id": [1], "split": ["train"], "view": ["PA"],
             "diseases": [["Edema"]]}
        ),
        "trajectories": pl.DataFrame(
            {**keys, "trajectory": ["x"], "n_words": [1], "n_steps": [1], "refusal": [False]},
            schema_overrides={"generation": pl.UInt8},
        ),
        "findings": pl.DataFrame(
            {**keys, "i": [0], "step": [0], "concept": ["kerley_z"], "label": ["Edema"], "status": ["present"],
             "side": [None], "zone": ["nowhere"], "lexicon_version": ["9"]},
            schema_overrides={"side": pl.String, "generation": pl.UInt8},
        ),
        "steps": pl.DataFrame(
            {**keys, "step": [0], "section": [None], "generic": [False]},
            schema_overrides={"section": pl.String, "generation": pl.UInt8},
        ),
    }  # fmt: skip
    found = drift.encode(TextTables(tables, {"synthetic": True}), drift.Config())
    assert found.vocabulary.concepts[-1] == "kerley_z"
    assert found.vocabulary.zones[found.findings.zone[0] - 1] == "nowhere"
    states = label_states(found.findings, 1, found.vocabulary)
    assert states[0, FINDINGS.index("Edema")] == 0


def test_sets_do_not_depend_on_order_or_duplicates(encoded: Encoded) -> None:
    some = layout.layout_of(encoded.vocabulary, level="zone", unc="own", mode="present+absent")
    rng = np.random.default_rng(0)
    order = rng.permutation(np.concatenate([np.arange(len(encoded.findings.row)), np.arange(500)]))
    shuffled = Findings(*(c[order] for c in encoded.findings))
    a, b = (layout.build(f, encoded.n_trajectories, some) for f in (encoded.findings, shuffled))
    np.testing.assert_array_equal(a.own, b.own)
    np.testing.assert_array_equal(a.entailed, b.entailed)


def test_chunks_of_a_large_matrix_are_the_whole(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    some = layout.layout_of(encoded.vocabulary, level="side", unc="pos", mode="present")
    whole = layout.build(encoded.findings, encoded.n_trajectories, some)
    monkeypatch.setattr(layout, "_CHUNK", 10 * some.n_cells)
    np.testing.assert_array_equal(layout.build(encoded.findings, encoded.n_trajectories, some).own, whole.own)


def test_headings_name_topics() -> None:
    assert reading.topic_of("Pleural effusion") == FINDINGS.index("Pleural Effusion")
    assert reading.topic_of("Conclusion:") == len(FINDINGS) + 1
    assert reading.topic_of("General remarks") == len(FINDINGS)
