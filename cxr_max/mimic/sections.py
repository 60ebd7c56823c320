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
    header = _HEADER.search(text)
    if header is None:
        sections = [Section("full report", text, 0)]
    else:
        sections = [Section("preamble", text[: header.start(1)], 0)]
        while header is not None:
            start = header.end()
            # The rest of the header's line cannot hold the next header.
            newline = text.find("\n", start)
            following = _HEADER.search(text, start if newline < 0 else newline)
            end = len(text) if following is None else following.start()
            sections.append(Section(fold(header[1]), text[start:end], start))
            header = following
    sections = [s for s in sections if s.name not in ("impression", "findings") or s.text.strip()]
    if not any(s.name in ("impression", "findings") for s in sections):
        name, text, start = sections[-1]
        head, blank, rest = text.partition(_BLANK)
        if blank:
            sections[-1:] = [Section(name, head, start), Section("last_paragraph", rest, start + len(head))]
    return sections


def parse_report(text: str) -> dict[str, str]:
    """Section name -> stripped text, by the published rules; the last of several with one name.

    Args:
        text: a whole report, lines separated by `\\n`.
    """
    return {section.name: section.text.strip() for section in split_sections(text)}


def read_report(text: str, study_id: int | None = None) -> Report:
    """The views of one report.

    Args:
        text: a whole report, lines separated by `\\n`.
        study_id: the study, for the 54 that are treated by hand.
    """
    table, key = rules(), str(study_id)
    if key in table["study_range"]:
        first, last = table["study_range"][key]
        chosen = text[first:last]
        return Report(None, None, None, None, chosen or None, "range" if chosen else None)
    sections = parse_report(text)
    if key in table["study_section"]:
        name = table["study_section"][key]
        chosen = sections.get(name, "")
        return Report(None, None, None, None, chosen or None, f"section:{name}" if chosen else None)
    found = {name: sections.get(name) for name in table["text_to_label"]}
    source = next((name for name in found if found[name] is not None), None)
    to_label = found[source] if source else None
    texts = {name: text or None for name, text in found.items()}
    return Report(**texts, text_to_label=to_label or None, text_section=source if to_label else None)
