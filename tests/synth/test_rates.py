"""What the teachers do is what their profiles say, and they err together as far as the knob says."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from benchmarks import fit_teachers
from cxr_max import synth
from cxr_max.synth import decide, teachers
from cxr_max.synth.concepts import concepts, index, of_label
from cxr_max.synth.profiles import profiles
from cxr_max.teachers import TEACHER_IDS

LEVEL = 1e-3
"""Chance that a right simulator fails one of these tests."""


def _all_within(observed: list[tuple[int, int, float]]) -> None:
    """Exact binomial tests of (errors, events, rate), Bonferroni over the list."""
    tested = [(k, n, p) for k, n, p in observed if n]
    assert len(tested) > 5
    worst = min(binomtest(k, n, p).pvalue for k, n, p in tested)
    assert worst > LEVEL / len(tested), worst


@pytest.fixture(scope="module")
def judged(large: Path) -> pl.DataFrame:
    """One row per trajectory that is no refusal and concept that is there: how it came out. One image per study."""
    essays = pl.read_parquet(large / "truth/trajectories.parquet").filter(~pl.col("declined"))
    one = essays.group_by("study_id").agg(pl.col("instance_id").min())
    rows = pl.read_parquet(large / "truth/assertions.parquet").join(
        essays.select("instance_id", "teacher", "study_id"), on=["instance_id", "teacher"]
    )
    return rows.join(one, on=["instance_id", "study_id"])


@pytest.fixture(scope="module")
def stated(large: Path) -> dict[str, dict]:
    return json.loads((large / "truth/profiles.json").read_text())["teachers"]


def test_sensitivity_per_teacher_and_concept(judged: pl.DataFrame, stated: dict) -> None:
    there = judged.filter(pl.col("outcome").is_in(["right", "missed", "flipped_side", "flipped_status"])).filter(
        (pl.col("status") != "absent") | (pl.col("outcome") == "flipped_status")
    )
    per = there.group_by("instance_id", "teacher", "concept", "prompted").agg(
        (pl.col("outcome") == "missed").all().alias("missed")
    )
    counts = per.group_by("teacher", "concept", "prompted").agg(pl.col("missed").sum(), pl.len())
    observed = []
    for row in counts.iter_rows(named=True):
        kind = "sensitivity_prompted" if row["prompted"] else "sensitivity_unprompted"
        observed.append((row["missed"], row["len"], 1.0 - stated[row["teacher"]][kind][row["concept"]]))
    assert sum(n for _, n, _ in observed) > 10_000
    _all_within(observed)


def test_side_and_status_flips(judged: pl.DataFrame, stated: dict, large: Path) -> None:
    sides = (
        pl.read_parquet(large / "truth/states.parquet")
        .group_by("study_id", "concept")
        .agg(pl.col("side").drop_nulls().unique().len().alias("sides"), pl.col("side").drop_nulls().len().alias("n"))
    )
    named = judged.filter(pl.col("outcome").is_in(["right", "flipped_side", "flipped_status"])).join(
        sides, on=["study_id", "concept"]
    )
    named = named.unique(["instance_id", "teacher", "concept"])
    status, side = [], []
    for (teacher, concept), mine in named.group_by("teacher", "concept"):
        rates = stated[teacher]
        status.append(((mine["outcome"] == "flipped_status").sum(), len(mine), rates["status_flip"][concept]))
        one_sided = mine.filter((pl.col("outcome") != "flipped_status") & (pl.col("n") == 1))
        side.append(((one_sided["outcome"] == "flipped_side").sum(), len(one_sided), rates["side_flip"][concept]))
    assert sum(k for k, _, _ in side) > 100
    _all_within(status)
    _all_within(side)


def test_inventions_and_refusals(judged: pl.DataFrame, stated: dict, large: Path) -> None:
    essays = pl.read_parquet(large / "truth/trajectories.parquet")
    keys = judged.select("instance_id", "study_id").unique()
    states = pl.read_parquet(large / "truth/states.parquet").select("study_id", "concept").unique()
    prompts = {}
    for line in (large / "raw/gpt-5.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompts[row["image"][-48:-4]] = row["prompt"].split("diagnosed with ")[1].split(". ")[0].replace(" and ", ", ")
    suggested = {}
    for key, names in prompts.items():
        found = {i for name in names.split(", ") for i in of_label(name)}
        suggested[key] = {concepts()[i].id for i in found} | {s for i in found for s in concepts()[i].signs}
    there = set(states.iter_rows())
    made_up = {
        (r["instance_id"], r["teacher"], r["concept"])
        for r in judged.filter(pl.col("outcome") == "invented").iter_rows(named=True)
    }
    kept = set(essays.filter(~pl.col("declined")).select("instance_id", "teacher").iter_rows())
    counts: dict[tuple, list[int]] = {}
    for instance, study in keys.iter_rows():
        for concept in (c.id for c in concepts()):
            if (study, concept) in there or concept == "no_finding":
                continue
            kind = "invention_suggested" if concept in suggested[instance] else "invention"
            for teacher in TEACHER_IDS:
                if (instance, teacher) in kept:
                    cell = counts.setdefault((teacher, kind, concept), [0, 0])
                    cell[0] += (instance, teacher, concept) in made_up
                    cell[1] += 1
    _all_within([(k, n, stated[t][kind][c]) for (t, kind, c), (k, n) in counts.items()])
    counts = {}
    first = essays.group_by("study_id").agg(pl.min("instance_id"))
    one = essays.join(first, on=["study_id", "instance_id"])
    for row in one.iter_rows(named=True):
        if "," not in prompts[row["instance_id"]]:
            cell = counts.setdefault((row["teacher"], prompts[row["instance_id"]]), [0, 0])
            cell[0] += row["declined"]
            cell[1] += 1
    _all_within([(k, n, stated[t]["refusal"][label]) for (t, label), (k, n) in counts.items()])


def _draw(correlation: float, step_drift: float = 0.0, generations: int = 1, subjects: int = 2500):
    world = synth.make_world(synth.validate(synth.WorldConfig(subjects=subjects, seed=21)))
    study = world.image_study[world.instance]
    labels = [[concepts()[i].label for i in world.present[s].nonzero()[0]] for s in study]
    named = [tuple(dict.fromkeys(x for x in row if x))[:3] or ("No Finding",) for row in labels]
    errors = synth.draw_errors(
        world, named, seed=(9,), correlation=correlation, step_drift=step_drift, generations=generations
    )
    return world, errors


@pytest.mark.parametrize("knob", [0.0, 0.3, 0.5, 1.0])
def test_realised_error_correlation_is_the_knob(knob: float) -> None:
    world, errors = _draw(knob)
    study = world.image_study[world.instance]
    first = np.unique(study, return_index=True)[1]
    for event, where in ((0, world.present[study]), (0, ~world.present[study]), (1, world.present[study])):
        mask = where[first]
        mask[:, index()["no_finding"]] = False
        wrong, rate = errors.wrong[first, 0, :, :, event], errors.rate[first, :, :, event]
        above, below = np.zeros(len(first)), 0.0
        for u, w in combinations(range(len(TEACHER_IDS)), 2):
            p, q = rate[:, u], rate[:, w]
            above += (((wrong[:, u] - p) * (wrong[:, w] - q)) * mask).sum(1)
            below += ((np.minimum(p, q) - p * q) * mask).sum()
        realised = above.sum() / below
        # Studies are independent, so their contributions give the standard error.
        error = above.std() * np.sqrt(len(first)) / below
        assert error < 0.05
        assert abs(realised - knob) < 3.5 * error, (event, realised, error)


def test_the_origin_is_shared_as_often_as_the_knob_says() -> None:
    _, errors = _draw(0.49)
    assert errors.shared.mean() == pytest.approx(0.7, abs=0.005)
    _, errors = _draw(0.0)
    assert not errors.shared.any()
    assert not errors.refuse_shared.any()


def test_without_drift_rates_do_not_depend_on_the_place_in_the_plan_and_with_it_they_do() -> None:
    _, still = _draw(0.5, subjects=800)
    _, moving = _draw(0.5, step_drift=2.0, subjects=800)
    some = still.rate > 0
    odds = [np.where(some, e.rate / (1 - e.rate), 1.0) for e in (still, moving)]
    gap = np.log(odds[1]) - np.log(odds[0])
    expected = 2.0 * (moving.slot - 0.5)[..., None]
    assert np.allclose(gap[some], np.broadcast_to(expected, gap.shape)[some], atol=1e-9)
    assert np.allclose(np.sort(moving.slot[0, 0]), np.linspace(0, 1, len(concepts())))
    late, early = moving.slot > 0.75, moving.slot < 0.25
    wrong = moving.wrong[:, 0, ..., 1]
    assert wrong[late].mean() > 1.8 * wrong[early].mean()
    calm = still.wrong[:, 0, ..., 1]
    assert calm[late].mean() == pytest.approx(calm[early].mean(), abs=0.01)


def test_generations_share_what_decoding_noise_leaves() -> None:
    _, errors = _draw(0.5, generations=3, subjects=800)
    for g in range(3):
        realised = errors.wrong[:, g].mean((0, 2, 3))
        assert realised == pytest.approx(errors.rate.mean((0, 2, 3)), abs=0.006)
    same = (errors.wrong[:, 0] == errors.wrong[:, 1]).mean()
    assert 0.9 < same < 0.9999
    everything_shared = errors.shared
    assert (errors.wrong[:, 0] == errors.wrong[:, 1])[everything_shared].all()


def test_profiles_land_near_the_published_precision_and_recall_in_a_world_they_were_not_set_on() -> None:
    world = synth.make_world(synth.validate(synth.WorldConfig(instances=3000, seed=31)))
    codes, named = fit_teachers.reference_codes(world, 2)
    found = fit_teachers.measure(world, codes, named, dict(profiles()))
    for teacher, (precision, recall) in found.items():
        goal = fit_teachers.PUBLISHED[teacher]
        assert precision == pytest.approx(goal[0], abs=0.05), teacher
        assert recall == pytest.approx(goal[1], abs=0.05), teacher


@pytest.mark.parametrize(
    ("candidate", "reference", "precision", "recall"),
    [
        ([1, -1], [1, -1], 1.0, 1.0),
        ([1, -1], [2, -1], 0.0, 0.0),
        ([0, -1], [2, -1], 1.0, 0.0),
        ([2, -1], [0, -1], 0.0, 1.0),
        ([3, -1], [1, 0], 0.5, 0.5),
        ([-1, -1], [1, -1], float("nan"), 0.0),
        ([1, 1], [-1, -1], 0.0, float("nan")),
    ],
)
def test_precision_and_recall_by_hand(candidate: list, reference: list, precision: float, recall: float) -> None:
    p, r = decide.precision_recall(np.array(candidate), np.array(reference))
    assert float(p) == pytest.approx(precision, nan_ok=True)
    assert float(r) == pytest.approx(recall, nan_ok=True)


def test_orders_of_treatment() -> None:
    names, keys = ("Pneumonia", "Edema", "Fracture"), np.array([0.3, 0.1, 0.2])
    assert teachers.ordered(names, "prompted", keys) == names
    assert teachers.ordered(names, "reversed", keys) == names[::-1]
    assert teachers.ordered(names, "alphabetical", keys) == ("Edema", "Fracture", "Pneumonia")
    assert teachers.ordered(names, "shuffled", keys) == ("Edema", "Fracture", "Pneumonia")
