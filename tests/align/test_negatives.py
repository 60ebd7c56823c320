"""Preference groups out of tables: which negatives, which weights, and a count of everything left out."""

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max.align.negatives import Choice, Chosen, Tables, preference_groups, trajectory_groups
from cxr_max.errors import DataError, UsageError

TEACHERS = ("gpt-5", "grok-4", "moonshot")
REJECTED = pl.List(pl.Struct({"teacher": pl.String, "generation": pl.UInt8, "trajectory": pl.String}))


def preference(instance: str, rejected: list[tuple[str, str]], **kw: Any) -> dict[str, Any]:
    return {
        "instance_id": instance,
        "strategy": "vote",
        "prompt": f"prompt {instance}",
        "chosen": f"{instance} consensus",
        "rejected": [{"teacher": t, "generation": 0, "trajectory": x} for t, x in rejected],
        "weights": None,
        **kw,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema_overrides={"rejected": REJECTED, "weights": pl.List(pl.Float32)})


def usual(instance: str) -> dict[str, Any]:
    return preference(instance, [(t, f"{instance} {t}") for t in TEACHERS])


def instances(**diseases: tuple[int, list[str]]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"instance_id": i, "subject_id": s, "diseases": d} for i, (s, d) in diseases.items()],
        schema_overrides={"diseases": pl.List(pl.String)},
    )


ABC = instances(a=(1, ["Edema"]), b=(2, ["Edema"]), c=(2, ["Fracture"]))
SCORES = pl.DataFrame(
    [("a", "gpt-5", 0.5), ("a", "grok-4", 3.0), ("a", "moonshot", math.nan), ("b", "gpt-5", 2.0), ("b", "grok-4", 1.0)],
    schema=["instance_id", "teacher", "z"],
    orient="row",
)


def run(tables: Tables, choice: Choice, ids: str = "abc") -> Chosen:
    return preference_groups(tables, list(ids), choice)


def test_all_the_teachers_trajectories() -> None:
    out = run(Tables(frame(usual("b"), usual("a")), ABC), Choice(), "ab")
    assert [g.instance_id for g in out.groups] == ["a", "b"]
    g = out.groups[0]
    assert g.completions == ("a consensus", "a gpt-5", "a grok-4", "a moonshot")
    assert g.sources == ("vote", *TEACHERS)
    assert g.prompt == "prompt a"
    assert g.weights is None
    assert g.diseases == ("Edema",)
    assert out.dropped == out.negatives_dropped == {}


def test_what_is_left_out_is_counted() -> None:
    rows = frame(
        usual("a"),
        preference("b", [("gpt-5", "b consensus"), ("grok-4", " ")]),
        usual("x"),
        preference("c", [("gpt-5", "c gpt-5")], chosen=" "),
    )
    out = run(Tables(rows, ABC, images={"a": "a.jpg", "b": "b.jpg", "c": "c.jpg"}), Choice(), "abcxn")
    assert [g.image for g in out.groups] == ["a.jpg"]
    assert out.dropped == {
        "no negative": 1,
        "not in the table of instances": 1,
        "no positive": 1,
        "no preference for the instance": 1,
    }
    assert out.negatives_dropped == {"same text as the positive": 1, "empty": 1}
    assert run(Tables(frame(usual("a")), ABC, images={}), Choice(), "a").dropped == {"no image": 1}
    assert run(Tables(frame(usual("a"), usual("b")), ABC), Choice(), "a").dropped == {"not selected": 1}


def test_those_that_drift() -> None:
    out = run(Tables(frame(usual("a"), usual("b")), ABC, scores=SCORES), Choice("drifting", threshold=1.0), "ab")
    assert [g.sources[1:] for g in out.groups] == [("grok-4",), ("gpt-5", "grok-4")]
    assert out.negatives_dropped == {"below the threshold": 1, "outlier score undefined": 2}
    none = run(Tables(frame(usual("a")), ABC, scores=SCORES), Choice("drifting", threshold=9.0), "a")
    assert none.dropped == {"no negative": 1}


def test_the_k_furthest() -> None:
    out = run(Tables(frame(usual("a"), usual("b")), ABC, scores=SCORES), Choice("top_k", k=1), "ab")
    assert [g.sources[1:] for g in out.groups] == [("grok-4",), ("gpt-5",)]
    assert out.negatives_dropped == {"not among the k": 2, "outlier score undefined": 2}


def trajectories() -> pl.DataFrame:
    rows = [
        {
            "instance_id": i, "teacher": t, "generation": 0, "prompt": f"prompt {i}", "diseases": ["Edema"],
            "trajectory": f"{i} {t}", "refusal": (t == "moonshot") if i == "a" else True if i == "b" else None,
        }
        for i in "abc" for t in TEACHERS
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_without_refusals() -> None:
    tables = Tables(frame(usual("a"), usual("b"), usual("c")), ABC, trajectories())
    out = run(tables, Choice("no_refusals"))
    assert {g.instance_id: g.sources[1:] for g in out.groups} == {"a": ("gpt-5", "grok-4"), "c": TEACHERS}
    assert out.dropped == {"no negative": 1}
    assert out.negatives_dropped == {"refusal": 4}


def test_the_control_draws_from_other_patients_with_the_same_diagnoses() -> None:
    who = instances(a=(1, ["Edema", "Fracture"]), b=(2, ["Fracture", "Edema"]), c=(1, ["Edema", "Fracture"]), d=(9, []))
    rows = frame(*(usual(i) for i in "abcd"))
    out = run(Tables(rows, who), Choice("same_diagnoses", seed=3), "abcd")
    by = {g.instance_id: g for g in out.groups}
    assert set(by["a"].completions[1:]) == {f"b {t}" for t in TEACHERS}
    assert {text.split()[0] for text in by["b"].completions[1:]} <= {"a", "c"}
    assert len(set(by["b"].completions)) == 4
    assert out.dropped == {"no negative": 1}
    again = run(Tables(rows.reverse(), who), Choice("same_diagnoses", seed=3), "b")
    assert again.groups[0] == by["b"], "a draw depends on seed and instance alone"


def test_weights() -> None:
    drift = pl.DataFrame(
        [("a", t, 0, w) for t, w in zip(TEACHERS, (0.5, 1.0, 1.5), strict=True)],
        schema=["instance_id", "teacher", "generation", "weight"],
        orient="row",
    )
    rows = frame(preference("a", [(t, f"a {t}") for t in TEACHERS], weights=[1.0, 0.0, 0.25]))
    tables = Tables(rows, ABC, weights=drift)
    for kind, want in (("count", (1 / 3,) * 3), ("drift", (0.5, 1.0, 1.5)), ("table", (1.0, 0.0, 0.25))):
        assert run(tables, Choice(weights=kind), "a").groups[0].weights == pytest.approx(want)
    with pytest.raises(DataError, match="3 of 3 negatives of a group have no weight"):
        run(Tables(frame(usual("a")), ABC), Choice(weights="table"), "a")
    with pytest.raises(DataError, match="3 of 3 negatives"):
        run(Tables(frame(usual("b")), ABC, weights=drift), Choice(weights="drift"), "b")
    with pytest.raises(DataError, match="3 rejected trajectories and 2 weights"):
        run(Tables(frame(preference("a", [(t, "x") for t in TEACHERS], weights=[1.0, 2.0])), ABC), Choice(), "a")


@pytest.mark.parametrize(
    ("choice", "table"),
    [
        (Choice("drifting"), "scores"),
        (Choice("top_k"), "scores"),
        (Choice("no_refusals"), "trajectories"),
        (Choice(weights="drift"), "weights"),
    ],
)
def test_a_table_the_choice_reads_is_asked_for(choice: Choice, table: str) -> None:
    with pytest.raises(UsageError, match=f"no table of {table}"):
        run(Tables(frame(usual("a")), ABC), choice)


@pytest.mark.parametrize(
    ("settings_", "said"), [({"kind": "worst"}, "drifting"), ({"weights": "loss"}, "count"), ({"k": 0}, "1 and above")]
)
def test_settings_outside_what_is_allowed(settings_: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Choice(**settings_)


def test_groups_for_supervised_training() -> None:
    tables = Tables(instances=ABC, trajectories=trajectories().sample(fraction=1, shuffle=True, seed=1))
    out = trajectory_groups(tables, ["a", "b"])
    assert [g.completions for g in out.groups] == [tuple(f"{i} {t}" for t in TEACHERS) for i in "ab"]
    assert out.groups[0].sources == TEACHERS
    assert out.dropped == {"not selected": 1}
    few = trajectory_groups(tables, ["a", "b", "c"], refusals=False)
    assert [len(g.completions) for g in few.groups] == [2, 3]
    assert few.dropped == {"only refusals": 1}
    assert few.negatives_dropped == {"refusal": 4}


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(["same", "empty", "low", "high", "nan"]), max_size=7),
    st.sampled_from(["drifting", "top_k"]),
)
def test_every_negative_is_kept_or_counted(kinds: list[str], kind: str) -> None:
    texts = {"same": "a consensus", "empty": ""}
    rejected = [(f"t{i}", texts.get(k, f"text {i}")) for i, k in enumerate(kinds)]
    z = {"low": 0.0, "high": 2.0}
    scores = pl.DataFrame(
        [("a", f"t{i}", z.get(k, math.nan)) for i, k in enumerate(kinds)],
        schema={"instance_id": pl.String, "teacher": pl.String, "z": pl.Float64},
        orient="row",
    )
    out = run(Tables(frame(preference("a", rejected)), ABC, scores=scores), Choice(kind, k=2), "a")
    kept = sum(g.n_negatives for g in out.groups)
    assert kept + sum(out.negatives_dropped.values()) == len(kinds)
    assert len(out.groups) + sum(out.dropped.values()) == 1
