"""Analysing texts leaves the process as it was, also when it fails, and gives the same for every number of jobs."""

import gc

import pytest

from cxr_max.data import analyse
from tests.data import toy


def test_the_garbage_collector_is_on_again() -> None:
    analyse.analyse(toy.TEXTS, extract=True)
    assert gc.isenabled()
    with pytest.raises(TypeError):
        analyse.analyse([None], extract=False)  # type: ignore[list-item]
    assert gc.isenabled()
    gc.disable()
    try:
        analyse.analyse(toy.TEXTS, extract=False)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_jobs_change_nothing() -> None:
    groups = [toy.TEXTS[:2], toy.TEXTS[2:], ()]
    alone = list(analyse.analyse_many(groups, extract=True, jobs=1))
    assert list(analyse.analyse_many(groups, extract=True, jobs=2)) == alone
    assert sum(alone[0].n_steps) == len(alone[0].steps[0])
