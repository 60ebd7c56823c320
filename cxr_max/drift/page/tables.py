"""The tables of the page: plain rows of text, sortable and downloadable there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_max.drift.page.data import Cell, Data, cell

TEACHER_COLUMNS = (
    ("precision", "precision"), ("precision_above_shuffle", "precision minus shuffle"),
    ("precision_beyond_prompt", "precision beyond prompt"), ("precision_echo", "precision of echo"),
    ("recall", "recall"), ("recall_above_shuffle", "recall minus shuffle"),
    ("recall_beyond_prompt", "recall beyond prompt"), ("recall_echo", "recall of echo"), ("f1", "F1"),
    ("similarity_tfidf", "lexical similarity"), ("similarity_findings", "finding similarity"),
    ("average (as in the paper)", "average (as in the paper)"), ("grounding_accuracy/micro", "side right"),
    ("grounding_side_prior/micro", "commoner side right"), ("laterality_flip_rate/micro", "side flipped"),
    ("negation_flip_rate/micro", "negation flipped"), ("contradiction_rate/micro", "contradictions"),
    ("invented_finding_rate/micro", "finding invented"), ("invented_device_rate/micro", "device invented"),
    ("hedging_rate/micro", "hedged"), ("refusal_rate", "refused"), ("n_words", "words"), ("n_findings", "findings"),
)  # fmt: skip


LONGEST = 300
"""Characters of a cell; a longer name would only make the page unreadable."""


@dataclass(frozen=True)
class Table:
    """One table: name of its CSV, heading, column names, rows of cells; a cell is text and the value it sorts by."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[list[tuple[str, str]]]


def all_tables(data: Data) -> list[Table]:
    """Every table that has rows, in the order of the page."""
    made = (teachers(data), tests(data), findings(data), pairs(data), subgroups(data), changes(data))
    return [t for t in made if t.rows]


def teachers(data: Data) -> Table:
    """One row a teacher, all headline figures."""
    shown = [(m, label) for m, label in TEACHER_COLUMNS if any(data.cell(t, m) for t in data.teachers)]
    named = data.teachers if shown else []
    rows = [[_text(data.display(t)), *(_cell(data.cell(t, m)) for m, _ in shown)] for t in named]
    return Table("teachers", "Teachers", ("teacher", *(label for _, label in shown)), rows)


def tests(data: Data) -> Table:
    """Headline tests, tests along the reasoning, and global tests of the pairs."""
    families = ("headline", "steps", "any teacher differs", "against the older release")
    columns = ("test", "statistic", "effect", "p", "adjusted p", "correction", "smallest detectable", "n", "note")
    keys = ("statistic", "effect", "p", "p_adjusted")
    rows = [
        [_text(str(t["test"]).replace("_", " ")), *(_number(t[k]) for k in keys), _text(str(t["correction"] or "")),
         _number(t["smallest_detectable"]), _number(t["n"]), _text(str(t["note"] or t.get("suppressed") or ""))]
        for t in data.tests(*families)
    ]  # fmt: skip
    return Table("tests", "Tests", columns, rows)


def findings(data: Data) -> Table:
    """Agreement of all teachers per finding."""
    metrics = ("krippendorff_alpha", "gwet_ac1", "fleiss_kappa", "prevalence", "vote_entropy", "pair_agreement")
    found = {m: dict(data.agreement(m)) for m in metrics}
    names = list(dict.fromkeys(n for m in metrics for n in found[m]))
    rows = [[_text(n), *(_cell(found[m].get(n)) for m in metrics)] for n in names]
    return Table("findings", "Agreement per finding", ("finding", *(m.replace("_", " ") for m in metrics)), rows)


def pairs(data: Data) -> Table:
    """Divergence, agreement and differences of every two teachers, over all findings."""
    rows = [
        [_text(data.display(str(r["teacher_a"]))), _text(data.display(str(r["teacher_b"]))), _figure(r),
         _text(str(r["text"] or r["coding"] or "")), _cell(cell(r)), _number(r["smallest_detectable"])]
        for r in data.plain["pairs"] if r["finding"] == "all"
    ]  # fmt: skip
    return Table("pairs", "Pairs of teachers", ("teacher", "and", "figure", "on", "value", "smallest detectable"), rows)


def subgroups(data: Data) -> Table:
    """Figures within subgroups; a group that is too small says so."""
    return _by_teacher(data, "subgroups", "Subgroups", data.subgroups(), ("by", "group"))


def changes(data: Data) -> Table:
    """What changed against the older release."""
    return _by_teacher(data, "changes", "Change against the older release", data.changes(), ())


def _by_teacher(data: Data, name: str, title: str, found: Sequence[Mapping[str, Any]], more: tuple[str, ...]) -> Table:
    rows = [
        [_text(data.display(str(r["teacher"]))), *(_text(str(r[k])) for k in more), _figure(r),
         _text(str(r["averaging"] or "")), _cell(cell(r)), _text(str(r["note"] or ""))]
        for r in found
    ]  # fmt: skip
    return Table(name, title, ("teacher", *more, "figure", "averaging", "value", "note"), rows)


def _cell(found: Cell | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    if found.value is None:
        return found.suppressed or "undefined", ""
    counts = f"\n(n {found.n:,}{f', {found.n_undefined:,} undefined' if found.n_undefined else ''})" if found.n else ""
    interval = (
        f"\n[{_short(found.low)}, {_short(found.high)}]" if found.low is not None and found.high is not None else ""
    )
    return f"{_short(found.value)}{interval}{counts}", repr(found.value)


def _figure(row: Mapping[str, Any]) -> tuple[str, str]:
    return _text(str(row["metric"]).replace("_", " "))


def _number(value: float | None) -> tuple[str, str]:
    return ("", "") if value is None else (_short(value), repr(value))


def _text(text: str) -> tuple[str, str]:
    shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return shown, shown


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3f}"
