"""The whole report on a synthetic world: figures against slow versions and truth, what is undefined, what is shared."""

import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cxr_max import drift, findings, teachers
from cxr_max.drift import config as drift_config
from cxr_max.drift import multiplicity, published, reporting
from cxr_max.drift.encoded import Encoded, subset
from cxr_max.drift.sources import TextTables
from cxr_max.drift.stats.finding_alignment import harmonic
from cxr_max.errors import DataError, UnknownNameError, UsageError

from .conftest import DRAWS

FRAMES = ("teachers", "pairs", "findings", "steps", "tests")


def headline(report: drift.DriftReport, metric: str, teacher: str, averaging: str = "macro") -> dict[str, object]:
    setting = {k: getattr(report.config, k) for k in ("section", "level", "unc", "mode")}
    rows = [
        r
        for r in report.teachers.to_dicts()
        if (r["metric"], r["teacher"], r["averaging"], r["finding"]) == (metric, teacher, averaging, "all")
        and all(r[k] == v for k, v in setting.items())
        and r["by"] is None
    ]
    assert len(rows) == 1
    return rows[0]


def test_precision_and_recall_are_means_over_studies(tables: TextTables, report: drift.DriftReport) -> None:
    reports = {r["instance_id"]: r for r in tables.scan("references").collect().iter_rows(named=True)}
    study = dict(tables.scan("instances").select("instance_id", "study_id").collect().iter_rows())
    for teacher in ("grok-4", "gpt-5"):
        by_study: dict[str, dict[int, list[float]]] = {m: defaultdict(list) for m in ("precision", "recall")}
        rows = tables.scan("trajectories").filter(pl.col("teacher") == teacher).collect()
        for row in rows.iter_rows(named=True):
            parts = [reports[row["instance_id"]][s] for s in ("findings", "impression")]
            if not any(parts):
                continue
            said = [f for p in parts if p for f in findings.extract(p, role="reference").findings]
            slow = findings.alignment(row["trajectory"], said)
            for metric in by_study:
                value = getattr(slow, metric)
                if not math.isnan(value):
                    by_study[metric][study[row["instance_id"]]].append(value)
        for metric, values in by_study.items():
            row = headline(report, metric, teacher)
            assert row["value"] == pytest.approx(np.mean([np.mean(v) for v in values.values()]))
            assert row["n"] == len(values)
        both = [headline(report, m, teacher)["value"] for m in by_study]
        assert headline(report, "f1", teacher)["value"] == pytest.approx(float(harmonic(*map(np.array, both))))


def test_average_is_the_papers(report: drift.DriftReport) -> None:
    for teacher in teachers.TEACHER_IDS:
        parts = [headline(report, m, teacher)["value"] for m in ("precision", "recall", "similarity_tfidf")]
        average = headline(report, "average (as in the paper)", teacher)["value"]
        assert average == pytest.approx(sum(parts) / 3)


def test_published_figures_average_as_printed() -> None:
    rows = published.figure_1a()
    assert [round(r.average, 4) for r in rows] == [0.3667, 0.3767, 0.3333, 0.4267, 0.3667, 0.3267, 0.3]
    assert [round(r.f1, 4) for r in rows] == [0.3818, 0.3937, 0.3454, 0.4247, 0.3877, 0.3055, 0.3086]
    assert [r.teacher for r in rows] == list(teachers.TEACHER_IDS)


def test_every_mandatory_row_is_there(report: drift.DriftReport) -> None:
    have = set(report.teachers["metric"].to_list())
    for stem in ("precision", "recall"):
        assert {f"{stem}{s}" for s in ("", "_echo", "_beyond_prompt", "_matched_shuffle", "_above_shuffle")} <= have
    assert {"grounding_accuracy", "grounding_side_prior", "refusal_rate", "contradiction_rate", "hedging_rate"} <= have
    assert {"laterality_flip_rate", "negation_flip_rate", "invented_finding_rate", "invented_device_rate"} <= have
    assert {"n_words", "similarity_findings", "similarity_tfidf"} <= have
    assert "(ceiling)" in report.teachers["teacher"].to_list()
    settings = (
        report.teachers.filter(pl.col("metric") == "precision").select("section", "level", "unc", "mode").unique()
    )
    assert set(settings["level"]) == {"concept", "side", "zone"}
    assert set(settings["unc"]) == {"pos", "neg", "drop", "own"}
    assert set(settings["mode"]) == {"present", "present+absent"}
    assert {"both", "findings", "impression"} <= set(settings["section"])
    agreement = set(report.findings["metric"].to_list())
    assert {"krippendorff_alpha", "fleiss_kappa", "gwet_ac1", "pabak", "vote_entropy", "prevalence"} <= agreement
    assert {"cohen_kappa", "jensen_shannon"} <= set(report.pairs["metric"].to_list())


def test_values_lie_in_their_intervals_and_have_counts(report: drift.DriftReport) -> None:
    rows = report.teachers.filter(pl.col("value").is_not_nan() & pl.col("low").is_not_nan())
    assert len(rows) > 500
    inside = (rows["low"] <= rows["value"] + 1e-9) & (rows["value"] <= rows["high"] + 1e-9)
    assert inside.mean() > 0.98
    assert rows["n"].min() > 0
    assert report.teachers["n_undefined"].null_count() == 0


def test_the_same_seed_gives_the_same_report(tables: TextTables, encoded: Encoded, report: drift.DriftReport) -> None:
    again = drift.from_encoded(encoded, report.config, tables.manifest)
    for name in FRAMES:
        assert getattr(again, name).equals(getattr(report, name), null_equal=True)
    other = drift.from_encoded(encoded, replace(report.config, seed=1), tables.manifest)
    assert other.about["signature"] != report.about["signature"]


def test_tests_hold_their_rules(report: drift.DriftReport) -> None:
    tests = report.tests
    known = tests.filter(pl.col("p").is_not_nan())
    assert known["p"].min() >= 1 / (report.config.permutations + 1) - 1e-9
    assert (known["p_adjusted"] >= known["p"] - 1e-9).all()
    assert set(tests.filter(pl.col("family") == "headline")["correction"]) == {"holm"}
    assert set(tests.filter(pl.col("family") != "headline")["correction"]) == {"bh"}
    assert len(tests.filter(pl.col("family") == "headline")) == 4
    told = tests.filter(
        pl.col("test").str.contains("any teacher differs: (?:precision|recall)|is constant|has a trend .plain")
        & pl.col("p").is_not_nan()
    )
    assert len(told) >= 6
    curves = report.steps.filter((pl.col("series") == "divergence") & pl.col("low").is_not_nan())
    assert set(curves["view"]) == {"plain", "topic-aligned"}
    middle = (curves["low"] + curves["high"]) / 2
    assert middle.to_numpy() == pytest.approx(curves["value"].to_numpy()), "the band is that of the curve it surrounds"
    assert (told["smallest_detectable"] > 0).all()
    silent = tests.filter(pl.col("note").str.starts_with("not tested"))
    assert silent["p"].is_nan().all()


def test_the_most_wrong_teacher_has_the_largest_weight(
    world: Path, report: drift.DriftReport, assertions: pl.DataFrame
) -> None:
    # The weight is a mean distance between sets of positive tuples, so the truth is judged by the same measure.
    tuples = assertions.filter((pl.col("status") != "absent") | (pl.col("outcome") == "flipped_status"))
    tuples = tuples.unique(["instance_id", "teacher", "concept", "side", "outcome"])
    distance = tuples.group_by("instance_id", "teacher").agg((pl.col("outcome") != "right").mean().alias("share"))
    wrong = distance.group_by("teacher").agg(pl.col("share").mean())
    worst = wrong.sort("share")["teacher"][-1]
    weights = report.weights()
    mean = weights.group_by("teacher").agg(pl.col("weight").mean()).sort("weight")
    assert mean["teacher"][-1] == worst
    per_instance = weights.group_by("instance_id").agg(pl.col("weight").mean())["weight"]
    assert per_instance.to_numpy() == pytest.approx(np.ones(len(per_instance)), abs=1e-5)
    assert (weights["weight"] > 0).all()


def test_kinds_of_weights(report: drift.DriftReport, encoded: Encoded) -> None:
    assert (report.weights("uniform")["weight"] == 1).all()
    by_teacher = report.weights("teacher").group_by("teacher").agg(pl.col("weight").n_unique())
    assert len(by_teacher) == 7
    reference = report.weights("reference")
    assert reference["uses_reports"].all()
    train = set(encoded.instance_id[encoded.split_I == "train"])
    assert set(reference["instance_id"]) <= train
    with pytest.raises(UnknownNameError, match="agreement"):
        report.weights("best")


def test_rates_agree_with_truth(world: Path, report: drift.DriftReport, assertions: pl.DataFrame) -> None:
    """Hedging and lengths are those planted; who invents more is found in order; a refusal is never made up."""
    stats = pytest.importorskip("scipy.stats")
    said = assertions.filter((pl.col("outcome") != "missed") & (pl.col("status") != "absent"))
    true = said.group_by("teacher").agg(
        (pl.col("outcome") == "invented").mean().alias("invented"),
        (pl.col("status") == "uncertain").mean().alias("hedged"),
    )
    whole = (
        pl.read_parquet(world / "truth" / "trajectories.parquet")
        .group_by("teacher")
        .agg(pl.col("refusal").mean(), pl.col("n_words").mean())
    )
    true = true.join(whole, on="teacher")
    order = true["teacher"].to_list()

    def measured(metric: str, averaging: str = "macro") -> np.ndarray:
        return np.array([headline(report, metric, t, averaging)["value"] for t in order])

    assert measured("hedging_rate", "micro") == pytest.approx(true["hedged"].to_numpy(), abs=0.1)
    assert (measured("refusal_rate") <= true["refusal"].to_numpy() + 0.02).all()
    assert measured("n_words") == pytest.approx(true["n_words"].to_numpy(), rel=0.03)
    invented = stats.spearmanr(true["invented"].to_numpy(), measured("invented_finding_rate", "micro")).statistic
    assert invented > 0.7


def test_without_reports_all_else_runs(tables: TextTables) -> None:
    alone = TextTables({k: tables.scan(k).collect() for k in ("instances", "trajectories")}, tables.manifest)
    result = drift.report(alone, **DRAWS)
    assert "precision" not in result.teachers["metric"].to_list()
    assert {"refusal_rate", "n_words", "hedging_rate"} <= set(result.teachers["metric"].to_list())
    assert reporting.NO_REFERENCE in result.notes
    for frame in ("pairs", "findings", "steps", "tests"):
        assert len(getattr(result, frame)) > 0
    assert len(result.weights()) == result.encoded.n_trajectories
    with pytest.raises(DataError, match="need reports"):
        result.weights("reference")


def only(encoded: Encoded, keep_T: np.ndarray) -> Encoded:
    """Only some trajectories; instances stay."""
    new = np.cumsum(keep_T) - 1
    columns = {
        n: getattr(encoded, n)[keep_T] for n in ("instance_T", "teacher_T", "generation_T", "words_T", "steps_T")
    }
    parts = {}
    for name in ("findings", "steps"):
        part = getattr(encoded, name)
        rows = keep_T[part.row]
        parts[name] = type(part)(new[part.row[rows]], *(c[rows] for c in part[1:]))
    similarity = {k: v[keep_T] for k, v in encoded.similarity_T.items()}
    return replace(encoded, **columns, **parts, refusal_T=encoded.refusal_T[keep_T], similarity_T=similarity)


def degenerate(name: str, encoded: Encoded) -> Encoded:
    every = np.ones(encoded.n_instances, dtype=bool)
    if name == "one patient":
        return subset(encoded, encoded.patient_I == encoded.patient_I[0])
    if name == "one instance":
        return subset(encoded, np.arange(encoded.n_instances) == 0)
    if name == "one teacher":
        vocabulary = replace(encoded.vocabulary, teachers=encoded.vocabulary.teachers[:1])
        return replace(only(encoded, encoded.teacher_T == 0), vocabulary=vocabulary)
    if name == "a teacher without any trajectory":
        return only(encoded, encoded.teacher_T != 3)
    if name == "teachers on different instances":
        return only(encoded, (encoded.instance_T % 7) == encoded.teacher_T)
    if name == "all refusals":
        none = encoded.findings._replace(**{f: getattr(encoded.findings, f)[:0] for f in encoded.findings._fields})
        return replace(encoded, findings=none, refusal_T=np.ones(encoded.n_trajectories, dtype=bool))
    if name == "empty references":
        empty = tuple(type(r)(*(c[:0] for c in r)) for r in encoded.reference)
        return replace(encoded, reference=empty, sections_I2=np.ones((len(every), 2), dtype=bool))
    return replace(encoded, steps=type(encoded.steps)(*(c[:0] for c in encoded.steps)))


@pytest.mark.parametrize(
    "name",
    [
        "one patient", "one instance", "one teacher", "a teacher without any trajectory",
        "teachers on different instances", "all refusals", "empty references", "no steps",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_degenerate_data_give_nan_with_counts(name: str, encoded: Encoded, tables: TextTables, tmp_path: Path) -> None:
    part = degenerate(name, encoded)
    few = drift.Config(draws=20, permutations=9, shuffles=3, by=("view", "n_diseases"))
    result = drift.from_encoded(part, few, tables.manifest)
    result.to_json(tmp_path / "report.json")
    shared = json.loads((tmp_path / "report.json").read_text())
    assert set(FRAMES) <= set(shared)
    result.outliers()
    assert len(result.weights()) == part.n_trajectories
    alpha = result.findings.filter((pl.col("metric") == "krippendorff_alpha") & (pl.col("finding") == "all"))
    if name in ("all refusals", "one teacher", "teachers on different instances"):
        assert alpha["value"].is_nan().all()
        assert (alpha["n"] == 0).all()
    if name == "all refusals":
        refused = result.teachers.filter(pl.col("metric") == "refusal_rate")
        assert (refused["value"] == 1).all()
        assert headline(result, "precision", "grok-4")["n"] == 0
        assert math.isnan(headline(result, "precision", "grok-4")["value"])  # type: ignore[arg-type]
        assert headline(result, "recall", "grok-4")["value"] == 0
    if name == "empty references":
        assert headline(result, "precision", "grok-4")["value"] == 0
        assert math.isnan(headline(result, "recall", "grok-4")["value"])  # type: ignore[arg-type]
    if name == "one patient":
        assert result.teachers["low"].is_nan().all()
    if name == "a teacher without any trajectory":
        row = headline(result, "precision", encoded.vocabulary.teachers[3])
        assert (row["n"], math.isnan(row["value"])) == (0, True)  # type: ignore[arg-type]


def test_relabelling_teachers_changes_nothing_else(encoded: Encoded, tables: TextTables) -> None:
    few = drift.Config(draws=10, permutations=5, shuffles=2)
    order = np.array([3, 0, 6, 1, 2, 5, 4])
    names = tuple(encoded.vocabulary.teachers[int(np.flatnonzero(order == u)[0])] for u in range(7))
    other = replace(encoded, teacher_T=order[encoded.teacher_T], vocabulary=replace(encoded.vocabulary, teachers=names))
    a, b = (drift.from_encoded(e, few, tables.manifest) for e in (encoded, other))
    for column, frame in (("finding", "findings"), ("bin", "steps")):
        x, y = (_values(r, frame) for r in (a, b))
        keep = [s not in ("divergence if constant", "total correlation if independent") for s in _series(a, frame)]
        assert x.filter(keep).to_numpy() == pytest.approx(y.filter(keep).to_numpy()), column


def _values(report: drift.DriftReport, frame: str) -> pl.Series:
    rows = getattr(report, frame).filter(pl.col("teacher") == "all")
    return rows["value"].fill_nan(-9)


def _series(report: drift.DriftReport, frame: str) -> list[str]:
    rows = getattr(report, frame).filter(pl.col("teacher") == "all")
    return rows["series"].to_list() if "series" in rows.columns else [""] * len(rows)


def test_subgroups(encoded: Encoded, tables: TextTables) -> None:
    few = drift.Config(draws=20, permutations=5, shuffles=2, by=("view", "split", "n_diseases", "single_disease"))
    result = drift.from_encoded(encoded, few, tables.manifest)
    rows = result.teachers.filter(pl.col("by").is_not_null())
    assert set(rows["by"]) >= {"split", "n_diseases", "single_disease"}
    small = rows.filter(pl.col("n_patients") < drift_config.MIN_PATIENTS)
    assert len(small) > 0
    assert small["value"].is_nan().all()
    assert set(small["note"]) == {"not enough patients"}
    tests = result.tests.filter(pl.col("family") == "subgroups")
    assert len(tests) == 2 * len(rows.select("by", "group").unique())
    assert set(tests["correction"]) == {"bh"}
    tested = tests.filter(pl.col("n_patients") >= drift_config.MIN_PATIENTS)
    assert len(tested) > 0
    assert tested["p_adjusted"].to_list() == pytest.approx(
        [p for p in multiplicity.adjust(tests["p"].to_list()) if not math.isnan(p)]
    )
    small = tests.filter(pl.col("n_patients") < drift_config.MIN_PATIENTS)
    assert small["p"].is_nan().all()
    assert set(small["note"]) == {"not enough patients"}
    train = subset(encoded, encoded.split_I == "train")
    alone = drift.from_encoded(train, replace(few, by=()), tables.manifest)
    want = headline(alone, "precision", "gpt-5")
    got = rows.filter(
        (pl.col("by") == "split") & (pl.col("group") == "train") & (pl.col("metric") == "precision")
        & (pl.col("teacher") == "gpt-5")
    )  # fmt: skip
    assert got["value"].to_list() == [want["value"]]


def test_generations_give_a_floor(encoded: Encoded, tables: TextTables, report: drift.DriftReport) -> None:
    assert reporting.NOISE in report.notes
    n = encoded.n_trajectories
    names = ("instance_T", "teacher_T", "words_T", "steps_T", "refusal_T")
    twice = {k: np.concatenate([getattr(encoded, k)] * 2) for k in names}
    moved = {
        k: type(getattr(encoded, k))(
            np.concatenate([getattr(encoded, k).row, getattr(encoded, k).row + n]),
            *(np.concatenate([c, c]) for c in getattr(encoded, k)[1:]),
        )
        for k in ("findings", "steps")
    }
    similarity = {k: np.concatenate([v, v]) for k, v in encoded.similarity_T.items()}
    doubled = replace(
        encoded, **twice, **moved, similarity_T=similarity, generation_T=np.repeat([0, 1], n).astype(np.int64)
    )
    result = drift.from_encoded(doubled, drift.Config(draws=10, permutations=5, shuffles=2), tables.manifest)
    assert reporting.NOISE not in result.notes
    floor = result.teachers.filter(pl.col("metric") == "within_teacher_pair_agreement")
    assert len(floor) == 7
    assert (floor["value"] == 1).all()
    assert headline(result, "precision", "gpt-5")["value"] == pytest.approx(
        headline(report, "precision", "gpt-5")["value"]
    )


def test_shared_output_holds_no_id_and_no_small_cell(
    report: drift.DriftReport, encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report.to_json(tmp_path / "free.json")
    text = (tmp_path / "free.json").read_text()
    assert not any(str(i) in text for i in encoded.instance_id)
    assert not any(f'"{s}"' in text or f" {s}," in text for s in map(str, encoded.study_I))
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    report.to_json(tmp_path / "real.json")
    shared = json.loads((tmp_path / "real.json").read_text())
    hidden = 0
    for frame in FRAMES:
        for row in shared[frame]:
            assert row["n_patients"] is None or row["n_patients"] >= 10
            if row.get("suppressed"):
                assert all(row.get(k) is None for k in ("value", "low", "statistic", "p", "n"))
                hidden += 1
    assert hidden > 0
    assert "NaN" not in text


WRONG = [
    ({"level": "lobe"}, UnknownNameError),
    ({"unc": "maybe"}, UnknownNameError),
    ({"section": "x"}, UnknownNameError),
    ({"by": ("age",)}, UnknownNameError),
    ({"similarity": "bleu"}, UnknownNameError),
    ({"teachers": ["nobody"]}, UnknownNameError),
    ({"split": "dev set"}, UnknownNameError),
    ({"draws": -1}, UsageError),
    ({"limit": 0}, UsageError),
]


@pytest.mark.parametrize(("options", "error"), WRONG)
def test_wrong_options_are_named(options: dict[str, object], error: type[Exception], tables: TextTables) -> None:
    with pytest.raises(error):
        drift.report(tables, **options)  # type: ignore[arg-type]


def test_selection(tables: TextTables) -> None:
    part = drift.encode(tables, drift.Config(teachers=("grok-4", "gpt-5"), limit=10, split="train"))
    assert part.n_instances == 10
    assert part.vocabulary.teachers == ("gpt-5", "grok-4")
    assert set(part.split_I) == {"train"}
    held = {k: tables.scan(k).collect() for k in ("instances", "references", "trajectories")}
    nothing = TextTables({**held, "trajectories": held["trajectories"].head(0)}, {})
    with pytest.raises(DataError, match="no trajectory"):
        drift.encode(nothing, drift.Config())
