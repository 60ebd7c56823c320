"""Report files in the style of MIMIC-CXR, with the exact place of every statement.

Lines of at most 79 characters that begin with one space, headers in capitals with a colon, `___` for what was removed,
two spaces between sentences, addenda on top; FINDINGS and IMPRESSION, either alone, merged, or neither.
"""

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cxr_max.synth.concepts import ZONES, concepts, phrases, tuple_sides
from cxr_max.synth.grammar import Choice, Claim, choose, fill, wrong_letters
from cxr_max.synth.statements import Said, plan
from cxr_max.synth.world import World

WIDTH = 79
FORM_SHARES = {"both": 0.68, "impression": 0.15, "findings": 0.115, "last_paragraph": 0.045, "merged": 0.01}
"""How often a report has which sections; published: 83 % with an impression, 12 % findings alone, 5 % neither."""


@dataclass
class Report:
    """One report file.

    Attributes:
        text: the whole file.
        rows: its statements as rows of the truth table `reports`.
        findings, impression, last_paragraph: the text of the sections on one line, or None.
    """

    text: str = ""
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    findings: str | None = None
    impression: str | None = None
    last_paragraph: str | None = None


@dataclass
class _Paragraph:
    """Text on one line, and what it states: (start, end, claim, change, choice)."""

    text: str = ""
    marks: list[tuple[int, int, Claim, str, Choice]] = field(default_factory=list)

    def sentence(self, said: Said, rng: Random, typos: float, before: str = "") -> None:
        """Append one sentence with its statements."""
        self.text += ("  " if self.text and not before.startswith("\n") else "") + before
        if said.kind == "list":
            self._list(said, rng)
            return
        claim = said.claims[0]
        choice = choose(rng, claim, "report", said.kind)
        clause = wrong_letters(rng, fill(choice, claim.side), typos)
        start = len(self.text)
        suffix = rng.choice(phrases()["changes"][said.change]) if said.change in phrases()["changes"] else ""
        self.text += f"{clause}{suffix}."
        self.marks.append((start, start + len(clause), claim, said.change, choice))

    def _list(self, said: Said, rng: Random) -> None:
        frame = rng.choice(phrases()["frames"]["report"]["list"])
        head, _, tail = frame.partition("{list}")
        self.text += head
        for k, claim in enumerate(said.claims):
            last = k == len(said.claims) - 1
            self.text += "" if k == 0 else " or " if last else ", "
            raw = rng.choice(phrases()["concept"][concepts()[claim.concept].id]["noun"]["bare"])
            bare = raw.removeprefix("*")
            choice = Choice(
                frame.replace("{list}", bare), claim.concept, raw.startswith("*"), False, 0, "", "", -1, False
            )
            self.marks.append((len(self.text), len(self.text) + len(bare), claim, "", choice))
            self.text += bare
        self.text += f"{tail}."


def write_report(world: World, s: int, rng: Random, typos: float = 0.0) -> Report:
    """The report of study `s`."""
    flag = str(world.flag[s])
    report = Report(_preamble(rng))
    if flag == "unusable":
        report.text += _wrapped(rng.choice(phrases()["text"]["unusable"]))[0] + "\n"
        return report
    _headers(report, world, s, rng)
    if flag:
        report.impression = rng.choice(phrases()["text"][flag]) if flag == "all_empty" else _dot(rng, flag)
        report.text += f" IMPRESSION: \n \n{_wrapped(report.impression)[0]}\n"
        return report
    form = _form(rng)
    parts = plan(world, s, rng)
    if form in ("both", "findings", "last_paragraph"):
        body = _prose(parts.findings, rng, typos)
        section = "last_paragraph" if form == "last_paragraph" else "findings"
        _append(report, world, s, section, body)
    if form in ("both", "impression", "merged"):
        said = parts.impression if form == "both" else [*parts.findings, *parts.impression][:9]
        body = _numbered(said, rng, typos) if len(said) > 1 and rng.random() < 0.5 else _prose(said, rng, typos, False)
        _append(report, world, s, "merged" if form == "merged" else "impression", body)
    if rng.random() < 0.03 and form != "last_paragraph":
        report.text += f" RECOMMENDATION(S):  {rng.choice(phrases()['text']['recommendation'])}\n"
    return report


def _dot(rng: Random, key: str) -> str:
    return str(rng.choice(phrases()["text"][key])) + "."


def _form(rng: Random) -> str:
    at = rng.random() * sum(FORM_SHARES.values())
    for name, share in FORM_SHARES.items():
        at -= share
        if at < 0:
            return name
    return "both"


def _preamble(rng: Random) -> str:
    text, out = phrases()["text"], ""
    if rng.random() < 0.03:
        out += f"{_wrapped(rng.choice(text['addendum']))[0]}\n {'_' * 78}\n"
    out += " " * 33 + "FINAL REPORT\n"
    return out


def _headers(report: Report, world: World, s: int, rng: Random) -> None:
    text = phrases()["text"]
    sex = "woman" if world.female[world.study_subject[s]] else "man"
    indication = rng.choice(text["indication"]).replace("{sex}", sex).replace("{Sex}", sex.capitalize())
    comparison = "None." if world.order[s] == 0 and rng.random() < 0.7 else rng.choice(text["comparison"])
    rows = [
        ("EXAMINATION", rng.choice(text["examination"])),
        ("INDICATION" if rng.random() < 0.8 else "HISTORY", indication),
        ("TECHNIQUE", f"{rng.choice(text['technique'])}."),
        ("COMPARISON", comparison),
    ]
    keep = [r for r in rows if r[0] == "COMPARISON" or rng.random() < 0.9]
    for name, value in keep:
        report.text += f"{_wrapped(f'{name}:  {value}')[0]}\n \n"
    if rng.random() < 0.03:
        report.text += " " + rng.choice(text["wet_read"]).replace("\n ", "\n") + "\n \n"


def _prose(said: list[Said], rng: Random, typos: float, filler: bool = True) -> _Paragraph:
    body = _Paragraph()
    spare = rng.sample(phrases()["text"]["report_filler"], 2) if filler else []
    for k, one in enumerate(said):
        if spare and rng.random() < 0.2:
            body.text += ("  " if k else "") + spare.pop() + "."
        body.sentence(one, rng, typos)
    if not said:
        body.text = rng.choice(phrases()["text"]["report_filler"]) + "."
    return body


def _numbered(said: list[Said], rng: Random, typos: float) -> _Paragraph:
    body = _Paragraph()
    for k, one in enumerate(said):
        body.sentence(one, rng, typos, f"{chr(10) if k else ''}{k + 1}. ")
    return body


_HEADER = {
    "findings": " FINDINGS: \n \n",
    "impression": " IMPRESSION: \n \n",
    "merged": " FINDINGS AND IMPRESSION: \n \n",
}


def _append(report: Report, world: World, s: int, section: str, body: _Paragraph) -> None:
    """Wrap a section into the file and note where each statement came to lie."""
    report.text += _HEADER.get(section, "")
    base = len(report.text)
    wrapped, moved = _wrapped(body.text)
    report.text += f"{wrapped}\n \n" if section != "last_paragraph" else f"{wrapped}\n"
    name = "impression" if section == "merged" else section
    setattr(report, name, re.sub(r"\s+", " ", body.text))
    ids = (int(world.subject_id[world.study_subject[s]]), int(world.study_id[s]))
    for start, end, claim, change, choice in body.marks:
        a, b = base + moved(start), base + moved(end - 1) + 1
        concept = concepts()[claim.concept]
        zone = ZONES[choice.zone] if choice.says_zone else None
        for side in tuple_sides(claim.side):
            report.rows.append(
                (
                    *ids,
                    name,
                    concept.id,
                    concept.label,
                    claim.status,
                    side,
                    zone,
                    change or None,
                    a,
                    b,
                    report.text[a:b],
                    choice.pattern,
                    choice.held_out,
                )
            )


def _wrapped(text: str) -> tuple[str, Any]:
    """Break text into lines of `WIDTH` that begin with one space; also the map from old to new character places."""
    out: list[str] = []
    shifts: list[tuple[int, int]] = [(0, 1)]
    line, at, extra = 0, 0, 1
    pieces = re.split(r"(\n| +)", text)
    out.append(" ")
    line = 1
    for k in range(0, len(pieces), 2):
        word = pieces[k]
        gap = pieces[k - 1] if k else ""
        if gap and (gap == "\n" or line + len(gap) + len(word) > WIDTH):
            out.append("\n ")
            extra += 2 - len(gap)
            line = 1
        else:
            out.append(gap)
            line += len(gap)
        at += len(gap)
        shifts.append((at, extra))
        out.append(word)
        at, line = at + len(word), line + len(word)

    def moved(place: int) -> int:
        return place + next(e for a, e in reversed(shifts) if a <= place)

    return "".join(out), moved
