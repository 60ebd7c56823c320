"""The paper's own tables, to stand beside ours in a block of their own: as published, not re-run."""

import tomllib
from collections.abc import Collection
from importlib.resources import files
from typing import Any, NamedTuple

HEADING = "As published, not re-run"


class PublishedTable(NamedTuple):
    """One table of the paper.

    Attributes:
        name: its number, such as `table_1`.
        title: what it shows.
        source: which versions print it.
        protocol: what is known of how it was made.
        near: tasks of ours that ask something similar, none of them by the same protocol.
        columns: names of the columns.
        rows: model to one value a column; None where nothing is printed.
        contradictions: with the paper's text, its other version, other tables or the cited work.
    """

    name: str
    title: str
    source: str
    protocol: str
    near: tuple[str, ...]
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]
    contradictions: tuple[str, ...]


def tables(near: Collection[str] = ()) -> tuple[PublishedTable, ...]:
    """The paper's tables 1 to 5 and 7.

    Args:
        near: names of tasks; only tables near one of them, or all tables when there is none.
    """
    text = files("cxr_max.evaluation").joinpath("published.toml").read_text(encoding="utf-8")
    found = [_table(name, raw) for name, raw in tomllib.loads(text).items()]
    chosen = [t for t in found if set(t.near) & set(near)]
    return tuple(chosen or found)


def _table(name: str, raw: dict[str, Any]) -> PublishedTable:
    return PublishedTable(
        name=name,
        title=raw["title"],
        source=raw["source"],
        protocol=raw["protocol"],
        near=tuple(raw["near"]),
        columns=tuple(raw["columns"]),
        rows={m: tuple(None if v == "-" else float(v) for v in values) for m, values in raw["rows"].items()},
        contradictions=tuple(raw["contradictions"]),
    )


def markdown(chosen: Collection[PublishedTable]) -> str:
    """The tables as one block of Markdown with source, protocol and contradictions under each."""
    lines = [f"## {HEADING}", "", "Other protocols and other truths than any row of ours: no column is shared.", ""]
    for t in chosen:
        lines += [f"### {t.title}", "", "| model | " + " | ".join(t.columns) + " |"]
        lines += ["| --- |" + " ---: |" * len(t.columns)]
        for model, values in t.rows.items():
            lines.append(f"| {model} | " + " | ".join("-" if v is None else f"{v:g}" for v in values) + " |")
        lines += ["", f"Source: {t.source}. Protocol: {t.protocol}", "", "Known contradictions:", ""]
        lines += [*(f"- {c}" for c in t.contradictions), ""]
    return "\n".join(lines)
