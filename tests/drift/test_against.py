"""A release against an older one: shared trajectories only, paired, what changed told apart."""

import polars as pl
import pytest

from cxr_max import drift
from cxr_max.drift import compare
from cxr_max.drift.sources import TextTables
from cxr_max.errors import DataError

REPORT = "There is a small left pleural effusion. The heart is enlarged."
OLD = "There is a right pleural effusion."
NEW = "There is a left pleural effusion. The heart is enlarged."


def release(texts: dict[tuple[str, str], str], version: str, *, synthetic: bool = True) -> TextTables:
    ids = sorted({i for i, _ in texts})
    instances = pl.DataFrame(
        {
            "instance_id": ids, "subject_id": range(len(ids)), "study_id": range(len(ids)),
            "split": ["test"] * len(ids), "view": ["PA"] * len(ids), "diseases": [["Pleural Effusion"]] * len(ids),
        }
    )  # fmt: skip
    trajectories = pl.DataFrame(
        {
            "instance_id": [i for i, _ in texts], "teacher": [t for _, t in texts], "generation": [0] * len(texts),
            "trajectory": list(texts.values()), "n_words": [len(x.split()) for x in texts.values()],
            "n_steps": [None] * len(texts), "refusal": [None] * len(texts),
        },
        schema_overrides={"generation": pl.UInt8, "n_steps": pl.UInt16, "refusal": pl.Boolean},
    )  # fmt: skip
    references = instances.select("instance_id").with_columns(
        pl.lit(REPORT).alias("findings"), pl.lit(None, pl.String).alias("impression")
    )
    tables = {"instances": instances, "trajectories": trajectories, "references": references}
    return TextTables(tables, {"synthetic": synthetic, "version": version})


def test_changes_are_paired_and_told_apart() -> None:
    old = release({(f"i{k}", t): OLD for k in range(12) for t in ("gpt-5", "grok-4")}, "1.0.0")
    new = release(
        {(f"i{k}", t): NEW if t == "gpt-5" else OLD for k in range(2, 14) for t in ("gpt-5", "grok-4")}, "2.0.0"
    )
    extra = compare.compute(new, old, drift.Config(draws=20, permutations=19))
    found = extra.about["against"]
    assert (found["shared_trajectories"], found["added_trajectories"], found["removed_trajectories"]) == (20, 4, 4)
    assert found["changed_text"] == 10
    assert not found["changed_lexicon"]
    change = {(r["teacher"], r["metric"]): r["value"] for r in extra.teachers}
    assert change["gpt-5", "change of precision"] == pytest.approx(1.0)
    assert change["gpt-5", "change of recall"] == pytest.approx(1.0)
    assert change["grok-4", "change of precision"] == 0
    p = {(t["teacher_a"], t["metric"]): t["p"] for t in extra.tests}
    assert p["gpt-5", "precision"] <= 0.1
    assert p["grok-4", "precision"] == 1


def test_nothing_shared_and_mixed_marks_are_refused() -> None:
    one = release({("a", "gpt-5"): OLD}, "1.0.0")
    with pytest.raises(DataError, match="share no trajectory"):
        compare.compute(one, release({("b", "gpt-5"): OLD}, "1.0.0"), drift.Config())
    with pytest.raises(DataError, match="never compared"):
        compare.compute(one, release({("a", "gpt-5"): OLD}, "1.0.0", synthetic=False), drift.Config())
