"""Sections of a report by the rules published with MIMIC-CXR (MIT-LCP/mimic-cxr, folder txt).

A header is a run of capitals, spaces and `()/,-` at the start of a line, after one space, before a colon and white
space. Header names are folded by the tables of `sections.toml`. Empty findings and impressions are dropped; where
neither is left, the last section ends at its first blank line and what follows is the `last_paragraph`. Of sections
with the same name the last counts. 54 studies are treated by hand, as published.
"""

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
_BLANK = "\n \n"


class Section(NamedTuple):
    """One section: its folded name, its text as it stands, and the offset the published rules give it."""

    name: str
    text: str
    start: int


class Report(NamedTuple):
    """The views of one report.

    Attributes:
        findings, impression, last_paragraph, comparison: stripped text, or None where the report has no such section;
            all None for the 54 studies treated by hand, which the published wide table leaves out.
        text_to_label: what the published labels were made from: impression, else findings, else last_paragraph, else
            comparison, or what the rule made for this study says; None when there is no usable text.
        text_section: where `text_to_label` comes from: one of the four names, `section:<name>` or `range` for a study
            treated by hand, None when there is none.
    """

    findings: str | None
    impression: str | None
    last_paragraph: str | None
    comparison: str | None
    text_to_label: str | None
    text_section: str | None

    @property
    def both(self) -> str | None:
        """Findings and impression with a blank line between, whichever there are; None when there is neither."""
        return "\n\n".join(filter(None, (self.findings, self.impression))) or None


@cache
def rules() -> dict[str, Any]:
    """The tables of `sections.toml`, with `folded`: header name -> section."""
    table = tomllib.loads((resources.files(__package__) / "sections.toml").read_text(encoding="utf-8"))
    table["folded"] = {header: name for name, headers in table["names"].items() for header in headers}
    table["examination"] = re.compile("|".join(map(re.escape, table["examination"])))
    return table


@cache
def fold(header: str) -> str:
    """The section a header names, in lower case; a header no rule knows stands for itself."""
    name, table = header.lower().strip(), rules()
    if name in table["folded"]:
        return str(table["folded"][name])
    for section in table["contains"]:
        if section in name:
            return str(section)
    return "findings" if table["examination"].search(name) else name


def split_sections(text: str) -> list[Section]:
    """Cut a report into its sections, in order; never empty."""
    return [Section(*cut) for cut in _cut(text)]


def _cut(text: str) -> list[tuple[str, str, int]]:
    search = _HEADER.search
    header = search(text)
    if header is None:
        cuts = [("full report", text, 0)]
        labelled = False
    else:
        cuts = [("preamble", text[: header.start(1)], 0)]
        labelled = False
        while header is not None:
            start = header.end()
            # The rest of the header's line cannot hold the next header.
            newline = text.find("\n", start)
            following = search(text, start if newline < 0 else newline)
            body = text[start:] if following is None else text[start : following.start()]
            name = fold(header[1])
            if name not in _LABELLED:
                cuts.append((name, body, start))
            elif body and not body.isspace():
                cuts.append((name, body, start))
                labelled = True
            header = following
    if not labelled:
        name, text, start = cuts[-1]
        head, blank, rest = text.partition(_BLANK)
        if blank:
            cuts[-1:] = [(name, head, start), ("last_paragraph", rest, start + len(head))]
    return cuts


_LABELLED = ("impression", "findings")


def parse_report(text: str) -> dict[str, str]:
    """Section name -> stripped text, by the published rules; the last of several with one name.

    Args:
        text: a whole report, lines separated by `\\n`.
    """
    return {name: body.strip() for name, body, _ in _cut(text)}


def read_report(text: str, study_id: int | None = None) -> Report:
    """The views of one report.

    Args:
        text: a whole report, lines separated by `\\n`.
        study_id: the study, for the 54 that are treated by hand.
    """
    by_hand = _by_hand()
    if study_id in by_hand:
        return _read_by_hand(text, by_hand[study_id])
    found = parse_report(text)
    get = found.get
    findings, impression = get("findings"), get("impression")
    last, comparison = get("last_paragraph"), get("comparison")
    for name, chosen in (
        ("impression", impression), ("findings", findings), ("last_paragraph", last), ("comparison", comparison),
    ):  # fmt: skip
        if chosen is not None:
            return Report(
                findings or None, impression or None, last or None, comparison or None,
                chosen or None, name if chosen else None,
            )  # fmt: skip
    return Report(None, None, None, None, None, None)


@cache
def _by_hand() -> dict[int | None, str | tuple[int, int]]:
    """study_id -> the section, or the range of characters, that stands in for the usual sections."""
    table = rules()
    ranges: dict[int | None, str | tuple[int, int]] = {int(k): (v[0], v[1]) for k, v in table["study_range"].items()}
    return ranges | {int(k): str(v) for k, v in table["study_section"].items()}


def _read_by_hand(text: str, rule: str | tuple[int, int]) -> Report:
    if isinstance(rule, str):
        chosen, source = parse_report(text).get(rule, ""), f"section:{rule}"
    else:
        chosen, source = text[rule[0] : rule[1]], "range"
    return Report(None, None, None, None, chosen or None, source if chosen else None)
