"""Signatures: what a number was measured with, printed beside it, and what two numbers must share to be compared.

    cxr-max 0.1.0|report_generation_study v1|bleu v1|profile clean|section findings|tokens white space|read report|
    prompt 3f2a...|images|samples all|cluster bootstrap 2000, seed 0|n 2000|failed 3|empty 1

The first part says how: two numbers whose first parts differ never stand in one column. The counts at the end say on
how many samples: they stand in every printed signature and in no key, since each group of a table has counts of its
own; where two runs differ in n, though, they have different denominators and are not put in one column either
(`comparing`, `gating`).
"""

import re
from collections.abc import Mapping
from typing import Any

from cxr_max import __version__
from cxr_max.evaluation import ask, metrics
from cxr_max.evaluation.types import Measure

COUNTS = ("n", "failed", "empty")
OF_ROW = "n, failed and empty: of each row"
"""Stands for the counts under a table whose rows differ in them."""
NONE = "none"
_VOLATILE = re.compile(r"^cxr-max [^|]*\||\|cluster bootstrap [^|]*")


def of(task: Any, run_: Mapping[str, Any], measure: Measure | None, *, read: str, drawn: str) -> str:
    """How a score was measured, without the counts.

    Args:
        task: its module.
        run_: what the run was.
        measure: what the score comes from; None where there is nothing to score.
        read: how answers were read.
        drawn: the bootstrap, with its seed.
    """
    metric = None if measure is None else metrics.get(measure.metric)
    images = "text-only" if run_["model"]["settings"].get("images") is False else "images"
    parts = [
        f"cxr-max {__version__}",
        f"{task.NAME} v{task.VERSION}",
        "no samples" if metric is None else f"{metric.name} v{metric.version}",
        f"profile {(measure.profile if measure else '') or NONE}",
        f"section {getattr(task, 'SECTION', NONE)}",
        f"tokens {metric.tokens if metric else NONE}",
        f"read {read or NONE}",
        f"prompt {ask.question_hash(task.PROMPT) if hasattr(task, 'PROMPT') else NONE}",
        images,
        f"samples {'all' if run_['limit'] is None else run_['limit']}",
        drawn,
    ]
    return "|".join([*parts, *(["synthetic"] if run_["synthetic"] else [])])


def counted(how: str, row: Mapping[str, Any]) -> str:
    """A whole signature: how it was measured, and the counts of its row; a count that is not known says so."""
    return "|".join([how, *(f"{name} {row.get(name, 'not counted')}" for name in COUNTS)])


def comparable(signature: str) -> str:
    """A signature without its counts: two numbers may stand in one column when these are the same."""
    return signature.partition(f"|{COUNTS[0]} ")[0]


def lasting(signature: str) -> str:
    """What a stored number and a new one must share: a comparable signature without what moves no value.

    That is the version of the tool (task, metric and prompt carry versions of their own, which change whenever a score
    may change) and the bootstrap's draws.
    """
    return _VOLATILE.sub("", comparable(signature))
