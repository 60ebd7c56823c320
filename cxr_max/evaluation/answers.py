"""What a generated text answers: one of the options, or nothing (an abstention, which is wrong).

`parse_answer` looks for an option; `report_answer` reads a text that is a report or a trajectory, by its findings.

The answer span is what follows the last `</think>`, "answer:" or "conclusion:"; without such a mark, the last sentence
that names an option. Within the span the options that are named and not negated count: one = the answer, none or
several = abstention.
"""

import re
from collections.abc import Sequence
from functools import cache

from cxr_max import findings

SYNONYMS: dict[str, tuple[str, ...]] = {
    "improving": (
        "improving", "improved", "improvement", "improves", "better", "resolved", "resolving", "resolution",
        "decreased", "decreasing", "decrease", "smaller", "reduced", "cleared", "clearing", "regressed",
    ),
    "stable": ("stable", "unchanged", "no change", "no significant change", "no interval change", "not changed",
               "similar", "same", "persistent", "constant"),
    "worsening": (
        "worsening", "worsened", "worsens", "worse", "increased", "increasing", "increase", "larger", "enlarged", "new",
        "progressed", "progressing", "progression", "deteriorated", "deterioration",
    ),
    "yes": ("yes", "present", "positive"),
    "no": ("no", "absent", "negative"),
}  # fmt: skip
"""Surface forms of the usual options, in the manner of BioViL-T's temporal keywords; an option stands for itself."""

_MARK = re.compile(r"\b(?:final\s+)?(?:answer|conclusion)\s*(?:is)?\s*[:=]", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_NEGATED = re.compile(
    r"\b(?:not|never|neither|nor|without|isn't|aren't|hasn't|rather than|instead of)\s+(?:\w+\s+){0,2}$"
)
_MARKUP = re.compile(r"[*_`#>\"“”]+")


def parse_answer(text: str, options: Sequence[str]) -> str | None:
    """The option a text answers with, or None = abstention.

    Args:
        text: what the model wrote, complete.
        options: the allowed answers; letter case does not matter.
    """
    _, thought, answer = text.rpartition("</think>")
    plain = _MARKUP.sub(" ", answer)
    marks = list(_MARK.finditer(plain))
    if marks or thought:
        named = _named(plain[marks[-1].end() if marks else 0 :], options)
        return next(iter(named)) if len(named) == 1 else None
    for sentence in reversed(_SENTENCE.split(plain)):
        named = _named(sentence, options)
        if named:
            return next(iter(named)) if len(named) == 1 else None
    return None


def report_answer(text: str, finding: str, options: Sequence[str]) -> str | None:
    """What a report says about one finding.

    Yes or no: whether it states one of the finding's label as present or uncertain; a report that does not mention it
    says no, a text without any finding abstains. Other options (a change): those named in the sentences that mention
    the finding; none or several = abstention.

    Args:
        text: a report or trajectory.
        finding: one of the 14 labels; letter case does not matter.
        options: the allowed answers.
    """
    found = findings.extract(text)
    mine = [f for f in found.findings if (f.label or "").lower() == finding.lower()]
    if {o.lower() for o in options} == {"yes", "no"}:
        if found.refusal:
            return None
        said = "yes" if any(f.status != "absent" for f in mine) else "no"
        return next(o for o in options if o.lower() == said)
    steps = {(s.start, s.end) for s in found.steps for f in mine if s.start <= f.start < s.end}
    named = {o for start, end in steps for o in _named(text[start:end], options)}
    return next(iter(named)) if len(named) == 1 else None


def _named(text: str, options: Sequence[str]) -> set[str]:
    """Options the text names without negating them."""
    found: set[str] = set()
    for match in _pattern(tuple(options)).finditer(text):
        surface = match.group(0).lower()
        if not _NEGATED.search(text[max(match.start() - 60, 0) : match.start()].lower()):
            found.update(o for o in options if surface in _surfaces(o))
    return found


def _surfaces(option: str) -> tuple[str, ...]:
    return (option.lower(), *SYNONYMS.get(option.lower(), ()))


@cache
def _pattern(options: tuple[str, ...]) -> re.Pattern[str]:
    # Longest first, so that "no change" is read before "no".
    words = sorted({s for o in options for s in _surfaces(o)}, key=lambda w: (-len(w), w))
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, words)) + r")(?![\w-])", re.IGNORECASE)
