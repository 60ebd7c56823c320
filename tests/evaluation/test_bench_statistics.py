"""The benchmark's numbers: pairing by seed and patient, widths, verdicts, length matching, result files, tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
    row: str, seed: int, right: float, *, words: int = 50, signature: str = "s", precision: float = 0.5
) -> Result:
    rng = np.random.default_rng([seed, len(row)])
    measures = []
    for finding in FIVE:
        truths = ["yes" if i % 3 == 0 else "no" for i in range(80)]
        said = [t if rng.random() < right else {"yes": "no", "no": "yes"}[t] for t in truths]
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
                  about={"synthetic": True, "recipe": "r"})  # fmt: skip


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


def test_the_family_is_all_pairs_on_both_endpoints_by_holm() -> None:
    found = [_result(r, s, 0.7) for s in range(2) for r in DESIGN.rows]
    family = _table(*found)["differences"]
    order = sorted(family, key=lambda d: d["p"])
    running = 0.0
    for i, d in enumerate(order):
        running = max(running, min(1.0, d["p"] * (len(order) - i)))
        assert d["p_adjusted"] == pytest.approx(running)


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


def test_the_seeds_part_has_the_unbiased_width() -> None:
    values = np.array([0.1, 0.4, 0.7, 0.2, 0.6])
    draws = statistics.Draws(("a",), np.ones((20_000, 1)), 0)
    scores = {i: (lambda w, v=v: np.full(len(w), v)) for i, v in enumerate(values)}
    e = statistics.estimate(scores, draws)
    assert e.draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(5), rel=0.03)


def test_the_widened_interval_of_a_rate_does_not_reach_below_0_and_that_of_a_signed_score_may() -> None:
    draws = statistics.Draws(("a", "b"), np.ones((2000, 2)), 0)

    def always(value: float) -> statistics.Score:
        return lambda weights: np.full(len(weights), value)

    def low(*values: float) -> float:
        return statistics.estimate({s: always(v) for s, v in enumerate(values)}, draws).low

    assert low(0.0, 0.0, 0.3) == 0.0
    assert low(0.0, 0.0, 0.3) < low(0.1, 0.1, 0.4)
    assert low(-0.1, -0.1, 0.2) < -0.1


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


@pytest.mark.parametrize("damage", ["", "{", '{"format": 9}', '{"format": 1}', "cut", "nan"])
def test_damaged_result_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.json"
    results.write(_result("apo", 3, 0.8), path)
    text = path.read_text()
    raw = json.loads(text)
    raw["measures"][0]["stats"][0][0] = float("nan")
    path.write_text({"cut": text[:-40], "nan": json.dumps(raw)}.get(damage, damage))
    with pytest.raises(DataError):
        results.read(path)


def test_tables_say_synthetic_undertrained_and_not_run(tmp_path: Path) -> None:
    base = Result(
        "base", "Base.", 0, 1.0, "s", not_run="needs pretrained weights", about={"synthetic": True, "recipe": "r"}
    )
    made = tables.summarise(
        [base, _result("sft", 0, 0.7), _result("apo", 0, 0.7)], replace(DESIGN, undertrained=True), draws=20
    )
    tables.write(made, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "synthetic" in text.splitlines()[0]
    assert "row (synthetic data)" in text
    assert tables.UNDERTRAINED in text
    assert tables.ELSEWHERE not in text
    elsewhere = {**made[0], "about": {**made[0]["about"], "settings": "of another run"}}
    assert tables.ELSEWHERE in tables.markdown(elsewhere)
    assert "| base | not run | needs pretrained weights |" in text
    assert tables.ONE_SEED in text
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "scores.json").read_text())["tables"][0]["synthetic"] is True
    assert "peak_memory_bytes" in (tmp_path / "table.csv").read_text()
