"""The trajectories: each teacher's claims as an essay in its own style, with the exact place of every assertion."""

from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, NamedTuple

from cxr_max.synth.concepts import ZONES, concepts, index, of_label, phrases, tuple_sides
from cxr_max.synth.grammar import Choice, Claim, choose, fill, wrong_letters
from cxr_max.synth.profiles import Profile

MIN_WORDS, MAX_WORDS = 100, 650
SHORT, LONG = 108, 620
"""Bounds of the length aimed at; the last sentence may go a little over."""


class Assertion(NamedTuple):
    """One claim as decided: what is said, how it came out, and what would have been right.

    Attributes:
        claim: what the teacher says; for a missed finding, what it should have said.
        outcome: right, missed, flipped_side, flipped_status or invented.
        origin: none, shared or private.
        prompted: the prompt names the concept's label.
        slot: place in the teacher's plan, 0 to 1.
        truth: side code of what is there (for the twin).
    """

    claim: Claim
    outcome: str
    origin: str
    prompted: bool
    slot: float
    truth: int


@dataclass
class Essay:
    """A finished trajectory.

    Attributes:
        text: the whole answer.
        rows: assertions as rows of the truth table, without the leading ids.
        steps: number of sentences and list items, headings not counted.
    """

    text: str = ""
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    steps: int = 0
    words: int = 0


@cache
def _bank(kind: str, key: str) -> tuple[tuple[str, int], ...]:
    rows = phrases()[kind].get(key, [])
    return tuple((s, len(s.split())) for s in rows)


class _Writer:
    """Puts sentences, items and headings one after the other and keeps count of characters, words and steps."""

    def __init__(self, rng: Random, profile: Profile, typos: float) -> None:
        self.rng, self.profile, self.typos = rng, profile, typos
        self.essay, self.at = Essay(), 0
        self.parts: list[str] = []
        self.used: set[str] = set()
        self.fresh, self.in_list = True, False

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.at += len(text)

    def heading(self, text: str, number: int) -> None:
        """A heading in the teacher's style; none at all in plain styles."""
        style = self.profile.heading
        if style == "none":
            self.paragraph()
            return
        self.paragraph()
        numbered = f"**{number}. {text}**" if number else f"**{text}**"
        mark = {"hash": f"### {text}", "bold": f"**{text}**", "numbered": numbered}[style]
        self.put(f"{mark}\n\n" if style != "bold" or self.rng.random() < 0.5 else f"{mark}\n")
        self.essay.words += len(mark.split())
        self.fresh = True

    def paragraph(self) -> None:
        """Start a new paragraph."""
        if self.parts:
            ended = len(self.parts[-1]) - len(self.parts[-1].rstrip("\n"))
            self.put("\n" * max(0, 2 - ended))
        self.fresh = True

    def sentence(self, text: str, *, item: bool = False) -> int:
        """Append one sentence with its full stop; returns the place of its first character."""
        lead = ""
        if item:
            lead = "- " if self.fresh else "\n- "
            if self.rng.random() < 0.25:
                lead += self.rng.choice(("**Observation:** ", "**Finding:** ", "*Image:* "))
        elif not self.fresh:
            lead = "\n- " if self.in_list and self.rng.random() < 0.5 else " "
        self.in_list = item or (self.in_list and not self.fresh)
        self.put(lead)
        start = self.at
        self.put(text)
        self.fresh = False
        self.essay.steps += 1
        self.essay.words += len(text.split()) + len(lead.split())
        return start

    def generic(self, kind: str, key: str, **slots: str) -> bool:
        """Append one sentence of a bank that has not been used yet; False when there is none left."""
        bank = _bank(kind, key)
        left = [s for s, _ in bank if s not in self.used]
        if not left:
            return False
        text = left[int(self.rng.random() * len(left))]
        self.used.add(text)
        self.sentence(text.format(**slots) if slots else text)
        return True

    def assertion(self, one: Assertion, *, kind: str = "") -> None:
        """Append one assertion as a sentence or item, and its truth rows."""
        choice = choose(self.rng, one.claim, "teacher", kind)
        clause = wrong_letters(self.rng, fill(choice, one.claim.side), self.typos)
        bold = not kind and self.rng.random() < 0.06
        item = self.profile.items == "bullets" and not kind
        step = self.essay.steps
        start = self.sentence(f"**{clause}.**" if bold else f"{clause}.", item=item) + 2 * bold
        self._rows(one, choice, (step, start, start + len(clause), clause))

    def _rows(self, one: Assertion, choice: Choice, place: tuple[int, int, int, str]) -> None:
        concept = concepts()[one.claim.concept]
        twin = twin_of(self.rng, one, choice)
        zone = ZONES[choice.zone] if choice.says_zone else None
        step, start, end, clause = place
        for side in tuple_sides(one.claim.side):
            self.essay.rows.append(
                (
                    step,
                    concept.id,
                    concept.label,
                    one.claim.status,
                    side,
                    zone,
                    start,
                    end,
                    one.outcome,
                    one.origin,
                    one.prompted,
                    one.slot,
                    clause,
                    twin,
                    choice.pattern,
                    choice.held_out,
                )
            )

    def missed(self, one: Assertion) -> None:
        """Truth rows of a finding that is not mentioned; the twin is what should have been said."""
        concept = concepts()[one.claim.concept]
        twin = fill(choose(self.rng, one.claim, "teacher"), one.claim.side)
        zone = ZONES[one.claim.zone] if one.claim.zone >= 0 else None
        for side in tuple_sides(one.claim.side):
            self.essay.rows.append(
                (
                    None,
                    concept.id,
                    concept.label,
                    one.claim.status,
                    side,
                    zone,
                    None,
                    None,
                    "missed",
                    one.origin,
                    one.prompted,
                    one.slot,
                    None,
                    twin,
                    None,
                    None,
                )
            )


def twin_of(rng: Random, one: Assertion, choice: Choice) -> str | None:
    """The clause as it should have been: the other side, the other status, or a negation; None when it is right."""
    if one.outcome == "flipped_side":
        return fill(choice, one.truth)
    if one.outcome == "flipped_status":
        right = Claim(one.claim.concept, "present", one.truth, one.claim.zone, one.claim.severity)
        return fill(choose(rng, right, "teacher"), one.truth)
    if one.outcome == "invented":
        return fill(choose(rng, Claim(one.claim.concept, "absent"), "teacher"), 0)
    return None


def write_essay(
    rng: Random,
    profile: Profile,
    diseases: tuple[str, ...],
    plan: tuple[list[Assertion], list[Assertion]],
    *,
    refuse: bool,
    typos: float = 0.0,
    length: float = 1.0,
) -> Essay:
    """One trajectory.

    Args:
        rng: source of chance for the wording.
        profile: the teacher.
        diseases: what the prompt names, in the order in which the teacher treats it.
        plan: the assertions in order, and the missed findings.
        refuse: decline, and give general information only.
        typos: share of clauses with a misspelling or an abbreviation.
        length: factor on the number of words aimed at.
    """
    writer = _Writer(rng, profile, typos)
    goal = length * min(LONG, max(SHORT, rng.gauss(profile.words, profile.words_sd)))
    said, missed = plan
    if refuse:
        _refusal(writer, diseases, goal, length * SHORT)
    else:
        _body(writer, diseases, said, goal)
    for one in missed:
        writer.missed(one)
    writer.essay.text = "".join(writer.parts)
    return writer.essay


def _refusal(writer: _Writer, diseases: tuple[str, ...], goal: float, least: float) -> None:
    writer.generic("essay", "refusal")
    writer.generic("essay", "disclaimer")
    writer.generic("essay", "refusal_turn")
    for number, label in enumerate(diseases, 1):
        writer.heading(label, number)
        for _ in range(3):
            writer.generic("about", label)
    writer.paragraph()
    goal = min(goal, 220.0)
    while writer.essay.words < goal and writer.generic("essay", "advice"):
        pass
    others = [label for label in phrases()["about"] if label not in diseases]
    writer.rng.shuffle(others)
    while writer.essay.words < least:
        writer.generic("about", others[-1]) or others.pop()


def _body(writer: _Writer, diseases: tuple[str, ...], said: list[Assertion], goal: float) -> None:
    rng, profile, essay = writer.rng, writer.profile, writer.essay
    names = ", ".join(d.lower() for d in diseases)
    if rng.random() < 0.5 and profile.heading != "none":
        writer.heading(rng.choice(phrases()["essay"]["intro_heading"]), 0)
    if rng.random() < profile.disclaimer:
        writer.generic("essay", "disclaimer")
    writer.generic("essay", "intro", diseases=names)
    rest = 16 * sum(1 for _ in said)
    groups = _sections(diseases, said)
    per = max(0.0, (goal - essay.words - rest - 40) / max(1, len(groups)))
    for number, (label, claims) in enumerate(groups, 1):
        title = rng.choice(phrases()["essay"]["section_heading"]).replace("{label}", label) if label else ""
        writer.heading(title or rng.choice(phrases()["essay"]["other_heading"]), number)
        _section(writer, label, claims, per)
    for label in diseases:
        while essay.words < goal - 60 and writer.generic("about", label):
            pass
    if said and rng.random() < profile.summary:
        writer.heading(rng.choice(phrases()["essay"]["summary_heading"]), len(groups) + 1)
        main = [a for a in said if a.claim.status == "present" and concepts()[a.claim.concept].label != "No Finding"]
        for k, one in enumerate(main[: 1 + int(rng.random() * 2)]):
            if essay.words < LONG:
                writer.assertion(one, kind="present" if k else "summary")
    writer.paragraph()
    writer.generic("essay", "closing")
    while essay.words < goal and _pad(writer):
        pass


def _pad(writer: _Writer) -> bool:
    if writer.rng.random() < 0.4 and writer.generic("essay", "advice"):
        return True
    return writer.generic("essay", "filler") or writer.generic("essay", "advice")


def _sections(diseases: tuple[str, ...], said: list[Assertion]) -> list[tuple[str, list[Assertion]]]:
    """Assertions in order, cut into one section per prompted disease and one for the rest."""
    owner = {i: d for d in diseases for i in of_label(d)}
    for d in diseases:
        for sign in (sign for i in of_label(d) for sign in concepts()[i].signs):
            owner.setdefault(index()[sign], d)
    groups: dict[str, list[Assertion]] = {d: [] for d in diseases}
    groups[""] = []
    for one in said:
        groups[owner.get(one.claim.concept, "")].append(one)
    return [(k, v) for k, v in groups.items() if k or v]


def _section(writer: _Writer, label: str, claims: list[Assertion], filler: float) -> None:
    """One section: claims with filler between them until the section has its share of words."""
    start, rng = writer.essay.words, writer.rng
    claim_words = 0
    for one in claims:
        while writer.essay.words - start - claim_words < filler * rng.random() * 0.7:
            if not _filler(writer, label):
                break
        if writer.essay.words > MAX_WORDS - 90:
            filler = 0.0
        before = writer.essay.words
        writer.assertion(one)
        claim_words += writer.essay.words - before
    while writer.essay.words - start - claim_words < filler * 0.8 and _filler(writer, label):
        pass


def _filler(writer: _Writer, label: str) -> bool:
    if label and writer.rng.random() < writer.profile.generic and writer.generic("about", label):
        return True
    return writer.generic("essay", "filler")
