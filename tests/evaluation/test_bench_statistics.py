"""The benchmark's numbers: pairing by seed and patient, widths, verdicts, length matching, result files, tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cxr_max.errors import DataError
from cxr_max.evaluation import metrics
from cxr_max.evaluation.bench import results, statistics, tables
from cxr_max.evaluation.bench.config import Design, Endpoint
from cxr_max.evaluation.bench.results import Result, Stored

TASK = "diagnosis_test"
PRIMARY = Endpoint(TASK, "macro_accuracy", "mean", "macro balanced accuracy")
SECOND = Endpoint(TASK, "side_accuracy", "all", "side accuracy of the rationale")
DESIGN = Design(PRIMARY, SECOND, PRIMARY, ("sft", "apo", "dpo_pairs"), contrasts=(("apo", "dpo_pairs"),))
PATIENTS = tuple(f"p{i // 2:02}" for i in range(80))
FIVE = ("Consolidation", "Edema")


def _result(
    row: str,
    seed: int,
    right: float,
    *,
    words: int = 50,
    signature: str = "s",
    precision: float = 0.5,
    abstained: float = 0.0,
    about: dict[str, object] | None = None,
) -> Result:
    rng = np.random.default_rng([seed, len(row)])
    measures = []
    for finding in FIVE:
        truths = ["yes" if i % 3 == 0 else "no" for i in range(80)]
        said = [t if rng.random() < right else {"yes": "no", "no": "yes"}[t] for t in truths]
        said = [None if abstained and rng.random() < abstained else s for s in said]
        stats = metrics.get("macro_accuracy").statistics(predictions=said, references=truths, labels=("yes", "no"))
        measures.append(Stored(TASK, "macro_accuracy", finding, "printed line", stats, PATIENTS))
    claims = np.zeros((80, 7))
    claims[:, 0], claims[:, 1], claims[:, 2], claims[:, 4], claims[:, 6] = 4, rng.binomial(4, precision, 80), 3, 2, 1
    claims[:, 5] = rng.binomial(2, right, 80)
    style = np.stack([rng.integers(words - 20, words + 20, 80), np.zeros(80), np.zeros(80)], axis=1).astype(float)
    measures += [
        Stored(TASK, "claims", "all", "extractor grammar v1", claims, PATIENTS),
        Stored(TASK, "style", "all", "", style, PATIENTS),
    ]
    cost = {"stage": row, "steps": 10, "trunk_tokens": 1000, "flop": 1e9, "wall_s": 2.0, "peak_memory_bytes": 2**20}
    return Result(row, f"{row}.", seed, 1.0, signature, tuple(measures), (cost,), "lr 0.1", {"lr 0.1": 0.5},
                  about={"synthetic": True, "recipe": "r", **(about or {})})  # fmt: skip


def _table(*found: Result) -> dict:  # type: ignore[type-arg]
    (table,) = tables.summarise(found, DESIGN, draws=400)
    return table


def test_a_better_row_is_called_better_and_an_equal_one_undecided() -> None:
    found = [_result(r, s, q) for s in range(4) for r, q in (("sft", 0.65), ("apo", 0.95), ("dpo_pairs", 0.65))]
    said = {(d["row"], d["other"], d["endpoint"]): d["verdict"] for d in _table(*found)["differences"]}
    assert len(said) == 6
    assert said["apo", "sft", PRIMARY.title] == "better"
    assert said["apo", "dpo_pairs", PRIMARY.title] == "better"
    assert said["dpo_pairs", "sft", PRIMARY.title] == "undecided"


def _holm(p_values: list[float], size: int) -> list[float]:
    running, adjusted = 0.0, {}
    for i, at in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, p_values[at] * (size - i)))
        adjusted[int(at)] = running
    return [adjusted[i] for i in range(len(p_values))]


def test_the_family_is_all_pairs_on_both_endpoints_by_holm() -> None:
    found = [_result(r, s, 0.7) for s in range(2) for r in DESIGN.rows]
    family = _table(*found)["differences"]
    assert [d["p_adjusted"] for d in family] == pytest.approx(_holm([d["p"] for d in family], 6))


def test_what_was_asked_for_counts_in_the_family_before_it_is_run() -> None:
    found = [_result(r, s, q) for s in range(3) for r, q in (("sft", 0.65), ("apo", 0.8))]
    (part,) = tables.summarise(found, DESIGN, declared=DESIGN.rows, draws=400)
    assert (len(part["differences"]), part["family"]) == (2, 6)
    p_values = [d["p"] for d in part["differences"]]
    assert [d["p_adjusted"] for d in part["differences"]] == pytest.approx(_holm(p_values, 6))
    assert "one family of 6, 2 of them done" in tables.markdown(part)
    # A row that cannot run is no hypothesis.
    never = Result("dpo_pairs", "Never.", 0, 1.0, "s", not_run="no weights", about={"synthetic": True, "recipe": "r"})
    (less,) = tables.summarise([*found, never], DESIGN, declared=DESIGN.rows, draws=400)
    assert less["family"] == 2


def test_an_undefined_difference_counts_in_the_family_and_stays_undefined() -> None:
    found = [_result("sft", 0, 0.6), _result("sft", 1, 0.6), _result("apo", 2, 0.9), _result("dpo_pairs", 0, 0.6)]
    by = {(d["row"], d["other"]): d for d in _table(*found)["differences"]}
    assert np.isnan(by["apo", "sft"]["p_adjusted"])
    assert by["apo", "sft"]["verdict"] == "undecided"
    assert by["dpo_pairs", "sft"]["p_adjusted"] >= min(1.0, 5 * by["dpo_pairs", "sft"]["p"])


def test_a_score_of_which_less_is_better_is_judged_that_way() -> None:
    end = replace(PRIMARY, score="abstention", title="abstention")
    found = [_result(r, s, 0.6, abstained=q) for s in range(4) for r, q in (("sft", 0.5), ("apo", 0.1))]
    (table,) = tables.summarise(found, replace(DESIGN, primary=end), draws=400)
    assert table["differences"][0]["value"] < 0
    assert table["differences"][0]["verdict"] == "better"


def test_value_is_the_mean_over_seeds_and_the_difference_that_of_the_values() -> None:
    found = [_result(r, s, q) for s in range(3) for r, q in (("sft", 0.6), ("apo", 0.8))]
    table = _table(*found)
    by = {r["row"]: r["estimates"][PRIMARY.title]["value"] for r in table["rows"]}
    plain = []
    for r in (r for r in found if r.row == "apo"):
        each = [metrics.get("macro_accuracy").aggregate(m.stats)["macro_accuracy"][0] for m in r.measures[:2]]
        plain.append(np.mean(each))
    assert by["apo"] == pytest.approx(np.mean(plain))
    assert table["differences"][0]["value"] == pytest.approx(by["apo"] - by["sft"])


def test_a_row_compared_with_itself_differs_by_nothing_in_every_draw() -> None:
    found = [_result("sft", s, 0.7) for s in range(3)]
    draws = statistics.draws_of(found, draws=50)
    scores = {r.seed: statistics.score_of(r, PRIMARY, draws.patients) for r in found}
    c = statistics.contrast(scores, scores, draws)
    assert (c.value, c.low, c.high, c.p) == (0, 0, 0, 1)


def test_more_seeds_narrow_the_interval_and_one_seed_leaves_patients_alone() -> None:
    def width(n: int) -> float:
        # Seeds differ by much more than patients do.
        found = [_result("sft", s, 0.55 + 0.4 * (s % 2)) for s in range(n)]
        draws = statistics.draws_of(found, draws=800)
        e = statistics.estimate({r.seed: statistics.score_of(r, PRIMARY, draws.patients) for r in found}, draws)
        return e.high - e.low

    assert width(8) < width(2)
    assert width(1) < width(2)


def _always(value: float) -> statistics.Score:
    return lambda weights: np.full(len(weights), value)


def _steady(patients: int = 119) -> statistics.Draws:
    """Draws in which every patient stands once, for scores that do not depend on them."""
    return statistics.Draws(tuple(f"p{i:03}" for i in range(patients)), np.ones((4, patients)))


def test_where_seeds_alone_vary_it_is_the_t_test_over_seeds() -> None:
    values = [-0.622, -0.502, -0.480, -0.028, -0.529]
    zero = {s: _always(0.0) for s in range(5)}
    c = statistics.contrast({s: _always(v) for s, v in enumerate(values)}, zero, _steady())
    theirs = stats.ttest_1samp(values, 0.0)
    assert (c.value, c.p) == (pytest.approx(np.mean(values)), pytest.approx(theirs.pvalue))
    low, high = theirs.confidence_interval(0.95)
    assert (c.low, c.high) == (pytest.approx(low), pytest.approx(high))
    error = np.std(values, ddof=1) / np.sqrt(5)
    assert c.detectable == pytest.approx((stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * error)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_equal_rows_are_told_apart_no_more_often_than_the_level(seeds: int, part: float) -> None:
    """`part` of the variance of a seed's difference is that of its patients, the rest is its own."""
    rng = np.random.default_rng([seeds, int(10 * part)])
    patients, repeats, rejected = 60, 1500, 0
    counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=200).astype(float)
    draws = statistics.Draws(tuple(f"p{i:02}" for i in range(patients)), counts)

    def score(values_P: np.ndarray) -> statistics.Score:
        return lambda weights: weights @ values_P / weights.sum(axis=1)

    for _ in range(repeats):
        noise = rng.normal(0, np.sqrt(part * patients), patients)
        own = rng.normal(0, np.sqrt(1 - part), seeds)
        spread = statistics.spread_of({s: score(noise + own[s]) for s in range(seeds)}, draws)
        rejected += spread.p() < 0.05
    # 1,500 repeats: three standard errors above .05, and .02 for the approximation of the degrees of freedom.
    assert rejected / repeats < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats) + 0.02
    assert rejected / repeats > 0.005


def test_the_interval_of_a_rate_stays_between_0_and_1_and_that_of_another_score_may_leave_it() -> None:
    few, many = ({s: _always(v) for s, v in enumerate(values)} for values in ((0.0, 0.0, 0.3), (1.0, 1.0, 0.7)))
    assert statistics.estimate(few, _steady(), rate=True).low == 0.0
    assert statistics.estimate(many, _steady(), rate=True).high == 1.0
    assert statistics.estimate(few, _steady()).low < 0.0
    assert statistics.estimate(many, _steady()).high > 1.0


def test_without_spread_equal_rows_are_equal_and_others_have_no_test() -> None:
    same = {0: _always(0.5), 1: _always(0.5)}
    assert statistics.contrast(same, same, _steady()).p == 1.0
    apart = statistics.contrast({0: _always(0.6), 1: _always(0.6)}, same, _steady())
    assert apart.value == pytest.approx(0.1)
    assert np.isnan(apart.p)


def test_undefined_seeds_are_left_out_and_one_patient_gives_no_interval() -> None:
    e = statistics.estimate({0: _always(0.5), 1: _always(float("nan")), 2: _always(0.7)}, _steady())
    assert e.value == pytest.approx(0.6)
    assert e.low < 0.5
    alone = statistics.estimate({0: _always(0.5), 1: _always(0.6)}, _steady(1))
    assert alone.value == pytest.approx(0.55)
    assert np.isnan(alone.low)


def test_only_common_seeds_are_paired_and_without_one_nothing_is_decided() -> None:
    found = [_result("sft", 0, 0.7), _result("sft", 1, 0.7), _result("apo", 1, 0.7)]
    assert _table(*found)["differences"][0]["seeds"] == 1
    apart = _table(_result("sft", 0, 0.7), _result("apo", 1, 0.7))["differences"]
    assert all(np.isnan(d["value"]) and d["seeds"] == 0 and d["verdict"] == "undecided" for d in apart)


def test_results_with_different_signatures_stand_in_different_tables() -> None:
    made = tables.summarise([_result("sft", 0, 0.7), _result("apo", 0, 0.7, signature="t")], DESIGN, draws=20)
    assert [len(t["rows"]) for t in made] == [1, 1]


def test_other_patients_are_an_error() -> None:
    other = _result("apo", 0, 0.7)
    moved = replace(other, measures=tuple(replace(m, patients=("x", *m.patients[1:])) for m in other.measures))
    with pytest.raises(DataError, match="different sets of patients"):
        _table(_result("sft", 0, 0.7), moved)


def test_length_matching_takes_away_a_gain_that_is_length_alone() -> None:
    """Precision depends on the number of words only; one row writes short answers, the other long ones."""
    rng = np.random.default_rng(0)

    def row(name: str, short: float) -> Result:
        made = _result(name, 0, 0.7)
        words = np.where(rng.random(80) < short, 20.0, 80.0)
        claims, style = made.measures[2].stats.copy(), made.measures[3].stats.copy()
        style[:, 0], claims[:, 0] = words, 10
        claims[:, 1] = np.where(words == 20, 8, 4)
        return replace(made, measures=(*made.measures[:2], replace(made.measures[2], stats=claims),
                                       replace(made.measures[3], stats=style)))  # fmt: skip

    table = _table(row("sft", 0.2), row("apo", 0.8))
    plain, matched = ([r["estimates"][k]["value"] for r in table["rows"]] for k in ("precision", tables.MATCHED))
    assert plain[1] - plain[0] > 0.15
    assert matched[1] == pytest.approx(matched[0])


def test_result_files_come_back_as_they_were(tmp_path: Path) -> None:
    one = _result("apo", 3, 0.8)
    results.write(one, tmp_path / "a.json")
    back = results.read(tmp_path / "a.json")
    assert replace(back, measures=()) == replace(one, measures=())
    for a, b in zip(back.measures, one.measures, strict=True):
        assert (a.metric, a.group, a.profile, a.patients) == (b.metric, b.group, b.profile, b.patients)
        assert np.array_equal(a.stats, b.stats)
    assert "synthetic" in (tmp_path / "a.json").read_text()[:120]


def _damaged(raw: dict[str, Any], *path: Any, by: Any) -> dict[str, Any]:
    found: Any = raw
    for key in path[:-1]:
        found = found[key]
    found[path[-1]] = by
    return raw


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null", '{"format": 9}', '{"format": 1}', "cut",
        (("measures", 0, "stats", 0, 0), float("nan")), (("row",), None), (("row",), ""), (("seed",), "3"),
        (("costs", 0, "flop"), None), (("tried",), []), (("setting",), 3), (("measures", 0, "patients", 0), -1),
        (("measures", 0, "patients", 0), 99), (("measures", 0, "stats"), [[1.0]]), (("measures",), []),
        (("not_run",), "no weights"), (("about",), None),
    ],
)  # fmt: skip
def test_damaged_result_files_are_refused_by_name(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "a.json"
    results.write(_result("apo", 3, 0.8), path)
    text = path.read_text()
    if isinstance(damage, tuple):
        text = json.dumps(_damaged(json.loads(text), *damage[0], by=damage[1]))
    path.write_text(text[:-40] if damage == "cut" else text if isinstance(damage, tuple) else damage)
    with pytest.raises(DataError, match=r"a\.json"):
        results.read(path)


def test_a_folder_among_the_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(DataError, match=r"x\.json"):
        results.read_all(tmp_path)


def test_a_seed_counts_once_and_a_row_is_one_thing() -> None:
    found = [_result("sft", 0, 0.7), _result("apo", 0, 0.7)]
    with pytest.raises(DataError, match="two results at seed 0"):
        tables.summarise([*found, found[1]], DESIGN)
    one, other = (_result("apo", s, 0.7, about={"definition": d}) for s, d in enumerate(("a", "b")))
    with pytest.raises(DataError, match="two definitions"):
        tables.summarise([found[0], one, other], DESIGN)


def test_of_real_data_nothing_over_few_patients_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(r: Result, patients: int) -> Result:
        return replace(r, measures=tuple(
            replace(m, patients=tuple(f"p{i % patients}" for i in range(80))) for m in r.measures
        ))  # fmt: skip

    real = [_result(r, 0, 0.7, about={"synthetic": False}) for r in ("sft", "apo")]
    (nothing,) = tables.summarise([few(r, 9) for r in real], DESIGN, draws=20)
    text = tables.markdown(nothing)
    assert "Fewer than 10 patients" in text
    assert not nothing["differences"]
    assert all(not r["estimates"] for r in nothing["rows"])
    (enough,) = tables.summarise([few(r, 10) for r in real], DESIGN, draws=20)
    assert enough["differences"]
    # With one finding that few patients were asked about goes the mean, from which it could be told.
    ten = [few(r, 10) for r in real]
    five = tuple(f"p{i % 5}" for i in range(80))
    part = [replace(r, measures=(replace(r.measures[0], patients=five), *r.measures[1:])) for r in ten]
    (some,) = tables.summarise(part, DESIGN, draws=20)
    assert f"macro_accuracy: {FIVE[0]}" not in some["rows"][0]["estimates"]
    assert f"macro_accuracy: {FIVE[1]}" in some["rows"][0]["estimates"]
    assert PRIMARY.title not in some["rows"][0]["estimates"]
    assert {d["endpoint"] for d in some["differences"]} == {SECOND.title}
    synthetic = [few(_result(r, 0, 0.7), 9) for r in ("sft", "apo")]
    assert tables.summarise(synthetic, DESIGN, draws=20)[0]["differences"]
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    assert "suppressed" in tables.summarise(synthetic, DESIGN, draws=20)[0]


def test_a_seed_that_diverged_is_said() -> None:
    lost = Result("apo", "apo.", 1, 1.0, "s", not_run="training diverged: loss nan at step 10", about={"recipe": "r"})
    found = [_result("sft", 0, 0.7), _result("sft", 1, 0.7), _result("apo", 0, 0.7), lost]
    assert "| apo (1 of 2 seeds diverged) | 1 |" in tables.markdown(_table(*found))
    both = [_result("sft", 0, 0.7), lost, replace(lost, seed=0)]
    assert "| apo | not run | training diverged: loss nan" in tables.markdown(_table(*both))


def test_tables_say_synthetic_undertrained_and_not_run(tmp_path: Path) -> None:
    signed = "tool|recipe|design|release|tasks|{}|fraction 1|teachers all|synthetic".format
    about = {"synthetic": True, "recipe": "r", "undertrained": True}
    base = Result("base", "Base.", 0, 1.0, signed("not run"), not_run="needs pretrained weights", about=about)
    found = [_result(r, 0, 0.7, signature=signed("rules"), about={"undertrained": True}) for r in ("sft", "apo")]
    # The mark is that of the runs, whatever design the table is made by.
    made = tables.summarise([base, *found], DESIGN, draws=20)
    assert len(made) == 1
    tables.write(made, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "synthetic" in text.splitlines()[0]
    assert "row (synthetic data)" in text
    assert tables.UNDERTRAINED in text
    assert tables.CHOSEN_ELSEWHERE not in text
    other = _result("apo", 0, 0.7, about={"settings": "of another run"})
    elsewhere = tables.markdown(_table(_result("sft", 0, 0.7), other))
    assert tables.CHOSEN_ELSEWHERE in elsewhere
    assert "| apo (settings of another run) |" in elsewhere
    assert "| sft |" in elsewhere
    assert "| base | not run | needs pretrained weights |" in text
    assert tables.ONE_SEED in text
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "scores.json").read_text())["tables"][0]["synthetic"] is True
    assert "peak_memory_bytes" in (tmp_path / "table.csv").read_text()


def test_a_row_that_was_not_run_stands_in_the_table_it_belongs_to() -> None:
    def signed(measured: str, fraction: str) -> str:
        return f"tool|recipe|design|release|tasks|{measured}|fraction {fraction}|teachers all"

    about = {"synthetic": True, "recipe": "r"}
    whole, half, alone = (
        Result("base", "Base.", 0, 1.0, signed("not run", f), not_run="no weights", about=about)
        for f in ("1", ".5", ".1")
    )
    found = [_result("sft", 0, 0.7, signature=signed("rules", f)) for f in ("1", ".5")]
    made = tables.summarise([whole, half, alone, *found], DESIGN, draws=20)
    assert [[r["row"] for r in t["rows"]] for t in made] == [["sft", "base"], ["sft", "base"], ["base"]]
    assert made[2]["signature"] == signed("not run", ".1")


def test_costs_are_medians_and_a_row_shorter_than_the_costliest_is_marked() -> None:
    def costing(row: str, seed: int, flop: float, budget: str = "once") -> Result:
        found = _result(row, seed, 0.7, about={"budget": budget})
        return replace(found, costs=({**found.costs[0], "flop": flop},))

    found = [costing("sft", s, f) for s, f in enumerate((1e9, 1e9, 9e9))]
    (table,) = tables.summarise([*found, costing("apo", 0, 5e9), costing("dpo_pairs", 0, 4.9e9, "longest")], DESIGN)
    by = {r["row"]: r for r in table["rows"]}
    assert by["sft"]["costs"]["flop"] == 1e9
    assert not by["dpo_pairs"]["marks"]
    (table,) = tables.summarise([*found, costing("apo", 0, 9e9), costing("dpo_pairs", 0, 5e9, "longest")], DESIGN)
    assert {r["row"]: r["marks"] for r in table["rows"]}["dpo_pairs"] == ["shorter than the costliest row"]
