"""The published section rules: worked examples, and an independent slow writing of them on random reports."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max import mimic
from cxr_max.errors import UnknownNameError
from cxr_max.mimic import sections
from cxr_max.mimic.reports import view
from tests.mimic.world import REPORT

HEADERS = [
    ("IMPRESSION", "impression"),
    ("CONCLUSION", "impression"),
    ("FINDINGS AND IMPRESSION", "impression"),
    ("FINDINGS/ IMPRESSION", "impression"),
    ("IMPRESSON", "impression"),
    ("NDICATION", "impression"),
    ("CHEST, TWO VIEWS", "findings"),
    ("FINIDNGS", "findings"),
    ("REFERENCE EXAM", "comparison"),
    ("COMPARISONS", "comparison"),
    ("REASON FOR EXAM", "indication"),
    ("CLINICAL INDICATION", "indication"),
    ("CLINICAL INFORMATION", "history"),
    ("PFI", "history"),
    ("RECOMMENDATION(S)", "recommendations"),
    ("WETREAD", "wet read"),
    ("TYPE OF EXAMINATION", "examination"),
    # By what a name contains, in this order: impression, findings, history, comparison, addendum.
    ("PRELIMINARY FINDINGS", "findings"),
    ("HISTORY AND COMPARISON", "history"),
    ("ADDENDUM TO COMPARISON", "comparison"),
    # Headers that name the examination.
    ("PA AND LATERAL VIEWS OF THE CHEST", "findings"),
    ("LEFT RIBS", "findings"),
    ("PORTABLE FILM", "findings"),
    ("NOTIFICATION", "notification"),
    ("SOMETHING ELSE", "something else"),
]


@pytest.mark.parametrize(("header", "section"), HEADERS)
def test_headers_are_folded(header: str, section: str) -> None:
    parsed = mimic.parse_report(f"FINAL REPORT\n {header}: the text\n")
    assert parsed[section] == "the text"


def test_a_whole_report() -> None:
    assert mimic.parse_report(REPORT) == {
        "preamble": "FINAL REPORT",
        "examination": "CHEST (PORTABLE AP)",
        "indication": "___ year old with a cough.",
        "comparison": "None.",
        "findings": "The heart is large.  There is a small left effusion.",
        "impression": "Cardiomegaly and a small left pleural effusion.",
    }


def test_no_header_is_a_full_report_and_a_header_needs_its_one_space() -> None:
    assert mimic.parse_report("only text") == {"full report": "only text"}
    assert set(mimic.parse_report("a\nIMPRESSION: b\n\tFINDINGS: c\n Findings: d\n TECHNIQUE:e")) == {"full report"}


def test_text_on_a_headers_line_is_never_a_header() -> None:
    parsed = mimic.parse_report("x\n FINDINGS:\n IMPRESSION: b\n")
    # The white space after the colon is the line's end, so the next line is skipped over.
    assert parsed == {"preamble": "x", "findings": "IMPRESSION: b"}


def test_the_last_of_several_counts_and_empty_ones_do_not() -> None:
    text = "x\n IMPRESSION: one\n\n FINDINGS: a\n\n IMPRESSION: two\n\n IMPRESSION:  \n\n"
    parsed = mimic.parse_report(text)
    assert parsed["impression"] == "two"
    assert parsed["findings"] == "a"


def test_the_last_paragraph_is_what_follows_the_first_blank_line_of_the_last_section() -> None:
    text = "FINAL REPORT\n HISTORY: pain.\n \n The lungs are clear.\n \n No fracture.\n"
    cut = sections.split_sections(text)
    assert [(s.name, s.text) for s in cut] == [
        ("preamble", "FINAL REPORT\n "),
        ("history", "pain."),
        ("last_paragraph", " The lungs are clear.\n \n No fracture.\n"),
    ]
    # The published offset: that of the section before plus the length of what is left of it.
    assert cut[2].start == cut[1].start + len("pain.")
    report = mimic.read_report(text)
    assert (report.text_to_label, report.text_section) == ("The lungs are clear.\n \n No fracture.", "last_paragraph")


def test_no_last_paragraph_beside_an_impression_or_without_a_blank_line() -> None:
    assert "last_paragraph" not in mimic.parse_report("x\n IMPRESSION: a\n \n b\n")
    assert "last_paragraph" not in mimic.parse_report("x\n HISTORY: a\n\n b\n")
    assert mimic.parse_report("a\n \n b")["last_paragraph"] == "b"


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("x\n COMPARISON: c\n FINDINGS: f\n y\n IMPRESSION: i\n", "impression"),
        ("x\n COMPARISON: c\n FINDINGS: f\n", "findings"),
        ("x\n COMPARISON: c\n \n l\n", "last_paragraph"),
        ("x\n COMPARISON: c\n", "comparison"),
        ("x\n HISTORY: c\n", None),
    ],
)
def test_the_text_to_label_prefers_impression_then_findings(text: str, section: str | None) -> None:
    report = mimic.read_report(text)
    assert report.text_section == section
    assert report.text_to_label == (section[0] if section else None)


def test_studies_with_a_section_of_their_own() -> None:
    text = "x\n TECHNIQUE: the finding stands here\n\n IMPRESSION: not this\n"
    report = mimic.read_report(text, 59279892)
    assert report == (None, None, None, None, "the finding stands here", "section:technique")
    assert mimic.read_report("nothing", 59279892) == (None,) * 6


def test_studies_with_a_range_of_characters_and_those_without_usable_text() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1_000))
    assert mimic.read_report(text, 50525523) == (None, None, None, None, text[201:349], "range")
    for study in (58235663, 50798377, 54168089, 53071062, 56724958, 54231141, 53607029, 52035334):
        assert mimic.read_report(text, study) == (None,) * 6


def test_the_tables_hold_what_was_published() -> None:
    table = sections.rules()
    assert len(table["study_section"]) == 23
    assert len(table["study_range"]) == 31
    assert sum(span == [0, 0] for span in table["study_range"].values()) == 8
    assert len(table["folded"]) == sum(map(len, table["names"].values())), "a header in two sections"


def test_views_tell_where_their_text_comes_from() -> None:
    report = mimic.read_report(REPORT, 1)
    assert view(report, "both") == (f"{report.findings}\n\n{report.impression}", "findings+impression")
    assert view(report, "findings").section == "findings"
    assert view(report, "text_to_label") == (report.impression, "impression")
    assert view(report, "last_paragraph") == (None, None)
    assert view(mimic.read_report("x\n FINDINGS: f\n")) == ("f", "findings")
    with pytest.raises(UnknownNameError, match="text_to_label"):
        view(report, "all")


def slow(text: str) -> dict[str, str]:
    """The rules once more, line by line from their description, headers walked one character at a time."""
    heads: list[tuple[str, int, int]] = []
    position = 0
    while True:
        hit = None
        for i in range(position, len(text) - 3):
            if text[i : i + 2] != "\n ":
                continue
            j = i + 2
            while j < len(text) and ((text[j].isascii() and text[j].isupper()) or text[j] in " ()/,-"):
                j += 1
            if j > i + 2 and j + 1 < len(text) and text[j] == ":" and text[j + 1].isspace():
                hit = (text[i + 2 : j], i, j + 2)
                break
        if hit is None:
            break
        heads.append(hit)
        line_end = text.find("\n", hit[2])
        position = hit[2] if line_end == -1 else line_end
    if not heads:
        found = [("full report", text)]
    else:
        found = [("preamble", text[: heads[0][1] + 2])]
        for (name, _, start), end in zip(heads, [h[1] for h in heads[1:]] + [len(text)], strict=True):
            found.append((sections.fold(name), text[start:end]))
    found = [(n, t) for n, t in found if not (n in ("impression", "findings") and not t.strip())]
    if not {"impression", "findings"} & {n for n, _ in found} and "\n \n" in found[-1][1]:
        name, last = found.pop()
        pieces = last.split("\n \n")
        found += [(name, pieces[0]), ("last_paragraph", "\n \n".join(pieces[1:]))]
    return {n: t.strip() for n, t in found}


PIECES = st.sampled_from(
    ["\n ", "\n \n", "\n", " ", "IMPRESSION", "FINDINGS", "HISTORY", ":", ": ", ":\n", "a", "The lungs.", "(AP)", "é",
     "COMPARISON", "Wet", "\n IMPRESSION: ", "\n FINDINGS: ", "\n CHEST: ", "\u00a0", "\x1c"]
)  # fmt: skip


@settings(max_examples=1_000, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_the_rules_agree_with_a_slow_writing_of_them(text: str) -> None:
    assert mimic.parse_report(text) == slow(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.sampled_from([None, 50525523, 59279892, 58235663, 1]))
def test_any_text_is_accepted(text: str, study: int | None) -> None:
    report = mimic.read_report(text, study)
    assert (report.text_to_label is None) == (report.text_section is None)
    assert all(part is None or part for part in report)


def test_a_pathological_text_takes_linear_time() -> None:
    text = "\n A" * 200_000 + "\n IMPRESSION: x"
    assert mimic.parse_report(text)["impression"] == "x"
    assert re.search(r"\n \n", "\n " * 100_000)
    assert mimic.parse_report("\n " + "A" * 1_000_000)["full report"]
