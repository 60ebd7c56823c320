"""Trajectories -> steps, findings and refusal, in worker processes, in the order they came.

Workers send back flat columns, since millions of small objects would cost more to move than to make.
"""

import gc
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import polars as pl

from cxr_max import findings
from cxr_max.schema import TABLES

STEP_COLUMNS = ("section", "start", "end", "generic")
FINDING_COLUMNS = ("step", "concept", "label", "status", "side", "zone", "start", "end", "rule")


class Analysed(NamedTuple):
    """Flat columns for a sequence of texts.

    Attributes:
        n_steps: per text, steps.
        steps: one list per column of `STEP_COLUMNS`, all texts after one another.
        n_findings: per text, findings; None when they were not asked for.
        findings: one list per column of `FINDING_COLUMNS`.
        refusal: per text; None when findings were not asked for.
    """

    n_steps: list[int]
    steps: list[list[Any]]
    n_findings: list[int] | None
    findings: list[list[Any]]
    refusal: list[bool] | None


def analyse(texts: Sequence[str], *, extract: bool) -> Analysed:
    """Segment texts, and extract their findings when asked to."""
    # Steps and findings are flat tuples by the million, none of them in a cycle: looking for cycles among them took a
    # tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        if extract:
            return _extracted(texts)
        steps = [findings.segment(text) for text in texts]
        return Analysed([len(s) for s in steps], _step_columns(steps), None, [], None)
    finally:
        if collecting:
            gc.enable()


def _extracted(texts: Sequence[str]) -> Analysed:
    found = [findings.extract(text) for text in texts]
    columns: list[list[Any]] = [[] for _ in FINDING_COLUMNS]
    for extraction in found:
        for f in extraction.findings:
            at = next((i for i, s in enumerate(extraction.steps) if s.start <= f.start < s.end), None)
            row = (at, f.concept, f.label, f.status, f.side, f.zone, f.start, f.end, f.rule)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    steps = [e.steps for e in found]
    return Analysed(
        [len(s) for s in steps],
        _step_columns(steps),
        [len(e.findings) for e in found],
        columns,
        [e.refusal for e in found],
    )


def _step_columns(steps: Sequence[Sequence[Any]]) -> list[list[Any]]:
    # Steps are tuples (text, section, start, end, generic); turned round in C, since there are millions.
    columns = list(zip(*chain.from_iterable(steps), strict=True))[1:]
    return [list(c) for c in columns] or [[] for _ in STEP_COLUMNS]


def analyse_many(groups: Iterable[Sequence[str]], *, extract: bool, jobs: int) -> Iterator[Analysed]:
    """`analyse` for every group of texts, in order, with `jobs` processes and few groups in flight."""
    if jobs <= 1:
        yield from (analyse(texts, extract=extract) for texts in groups)
        return
    # A fork would copy the locks of Polars' threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: deque[Future[Analysed]] = deque()
        try:
            for texts in groups:
                waiting.append(pool.submit(analyse, texts, extract=extract))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def step_frame(keys: pl.DataFrame, analysed: Analysed) -> pl.DataFrame:
    """Rows of the table `steps` for the trajectories whose keys are given, in the same order."""
    counts = pl.Series(analysed.n_steps, dtype=pl.UInt32)
    return _repeat(keys, counts, "step").with_columns(
        pl.Series(name, values, TABLES["steps"].polars()[name])
        for name, values in zip(STEP_COLUMNS, analysed.steps, strict=True)
    )


def finding_frame(keys: pl.DataFrame, analysed: Analysed) -> pl.DataFrame:
    """Rows of the table `findings` for the trajectories whose keys are given, in the same order."""
    counts = pl.Series(analysed.n_findings or [0] * keys.height, dtype=pl.UInt32)
    return _repeat(keys, counts, "i").with_columns(
        *(
            pl.Series(name, values, TABLES["findings"].polars()[name])
            for name, values in zip(FINDING_COLUMNS, analysed.findings, strict=True)
        ),
        pl.lit(findings.LEXICON_VERSION).alias("lexicon_version"),
    )


def _repeat(keys: pl.DataFrame, counts: pl.Series, index: str) -> pl.DataFrame:
    ranges = keys.with_columns(pl.int_ranges(counts, dtype=pl.UInt16).alias(index))
    return ranges.explode(index).drop_nulls(index)
