"""What may be trained on: the official train split without the patients of evaluation sets, or everything, marked."""

import polars as pl
import pytest

from cxr_max.align.selection import evaluation_subjects_of, select_instances
from cxr_max.errors import CxrMaxWarning, DataError, UnknownNameError, UsageError


def instances() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "instance_id": ["f", "a", "b", "c", "d", "e", "g"],
            "subject_id": [6, 1, 1, 2, 3, 4, 5],
            "split": ["train", "train", "train", "train", "validate", "test", "validate"],
        }
    )


SETS = {"ms-cxr-t": {1, 9}, "chexpert": {1, 2, 3}, "open-i": set[int]()}


def test_clean_keeps_evaluation_patients_out_and_counts_why() -> None:
    s = select_instances(instances(), SETS)
    assert s.instance_ids == ("f",)
    assert s.dropped == {
        "split test": 1,
        "split validate": 2,
        "patient in chexpert": 1,
        "patient in chexpert, ms-cxr-t": 2,
    }
    assert len(s.instance_ids) + sum(s.dropped.values()) == len(instances())
    assert s.evaluation_sets == ("chexpert", "ms-cxr-t", "open-i")
    assert not s.contaminated


def test_choices_use_validate_without_those_patients() -> None:
    s = select_instances(instances().lazy(), SETS, split="val")
    assert s.instance_ids == ("g",)
    assert s.dropped["patient in chexpert"] == 1


def test_all_is_the_papers_and_marked() -> None:
    s = select_instances(instances(), SETS, train_on="all")
    assert s.instance_ids == ("a", "b", "c", "d", "e", "f", "g")
    assert s.contaminated
    assert s.dropped == {}


def test_no_evaluation_set_is_said() -> None:
    with pytest.warns(CxrMaxWarning, match="no evaluation set was found"):
        s = select_instances(instances(), {})
    assert s.instance_ids == ("a", "b", "c", "f")
    assert s.evaluation_sets == ()


def test_the_digest_is_of_the_set() -> None:
    one = select_instances(instances(), SETS, train_on="all")
    other = select_instances(instances().reverse(), SETS, train_on="all")
    assert one.digest == other.digest != select_instances(instances(), SETS).digest


def test_subjects_from_the_overlap_of_a_join() -> None:
    overlap = pl.DataFrame(
        {"instance_id": ["a", "b", "c"], "subject_id": [1, 2, 3], "evaluation_sets": [["x", "y"], [], ["y"]]}
    )
    assert evaluation_subjects_of(overlap) == {"x": {1}, "y": {1, 3}}


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="clean, all"):
        select_instances(instances(), SETS, train_on="everything")
    with pytest.raises(UsageError, match="train, validate"):
        select_instances(instances(), SETS, split="test")
    with pytest.raises(UnknownNameError):
        select_instances(instances(), SETS, split="holdout")
    with pytest.raises(DataError, match="no instance is left to train on of 7"):
        select_instances(instances(), {"x": set(range(9))})
    with pytest.raises(DataError, match="more than once"):
        select_instances(pl.concat([instances(), instances()]), SETS)
