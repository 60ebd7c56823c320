"""What the closed-answer tasks share: prompts from files, limits, answers as options, scores as differences."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from cxr_max.evaluation import metrics
from cxr_max.evaluation.answers import parse_answer, report_answer
from cxr_max.evaluation.types import Item, Measure, Output
from cxr_max.schema import FINDINGS

YES_NO: tuple[str, ...] = ("yes", "no")


@cache
def question(name: str) -> str:
    """The text of a question file, without its last line break."""
    return (
        resources.files("cxr_max.evaluation").joinpath("questions", f"{name}.txt").read_text(encoding="utf-8").rstrip()
    )


def diagnoses(labels: Mapping[str, Any]) -> tuple[str, ...]:
    """The diagnoses a study's labels state: those that are 1, without No Finding."""
    return tuple(name for name in FINDINGS if labels.get(name) == 1 and name != "No Finding")


def listed(given: Sequence[str]) -> str:
    """Diagnoses as a prompt names them."""
    return ", ".join(given) if given else "none"


def presence(finding: str, given: Sequence[str] | None = None) -> str:
    """The question whether an image shows a finding; `given` names diagnoses, None none and not even that."""
    if given is None:
        return question("presence").format(finding=finding.lower())
    return question("presence_given_dx").format(finding=finding.lower(), diseases=listed(given))


def question_hash(name: str) -> str:
    """First 12 hex digits of the SHA-256 of a question's text."""
    return hashlib.sha256(question(name).encode()).hexdigest()[:12]


def limited(items: list[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, those with the smallest hash of their id: the same ones wherever and whenever it runs."""
    if limit is None or limit >= len(items):
        return items
    chosen = sorted(items, key=lambda i: hashlib.sha256(i.sample.id.encode()).digest())[:limit]
    keep = {i.sample.id for i in chosen}
    return [i for i in items if i.sample.id in keep]


def grouped(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Items by their group, in the order in which groups first occur."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return groups


def how(items: Iterable[Item]) -> str:
    """How answers are read: one method for all of a task's answers.

    `score` when every answer that came has option scores; `samples:K` when each question was asked K times; else
    `parse`.
    """
    answers = [i.output for i in items if isinstance(i.output, Output)]
    if answers and all(a.scores is not None for a in answers):
        return "score"
    times = {len(a.samples) for a in answers}
    return f"samples:{times.pop()}" if len(times) == 1 and 0 not in times else "parse"


def choice(item: Item, read: str) -> str | None:
    """The option an answer stands for; None = abstained, failed or not asked.

    Args:
        item: with its answer.
        read: `score` takes the likeliest option, `samples:K` the one most answers name (a tie abstains), `report` what
            the text says as a report, `parse` the option it names.
    """
    if not isinstance(item.output, Output):
        return None
    if read == "score" and item.output.scores is not None:
        best = max(range(len(item.sample.options)), key=item.output.scores.__getitem__)
        return item.sample.options[best]
    if read.startswith("samples"):
        votes = Counter(filter(None, (parse_answer(s, item.sample.options) for s in item.output.samples)))
        ranked = votes.most_common(2)
        return None if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]) else ranked[0][0]
    if read == "report":
        return report_answer(item.text, item.group, item.sample.options)
    return parse_answer(item.output.text, item.sample.options)


def margin(item: Item, read: str) -> float:
    """How far an answer leans to "yes"; NaN for an abstention: no answer, or one that is neither yes nor no.

    With option scores their difference, 0 where both are impossible; of several answers the share of yes, one that is
    neither counting one half; else 1 or 0.
    """
    lean = {"yes": 1.0, "no": 0.0}
    if not isinstance(item.output, Output):
        return math.nan
    if read == "score" and item.output.scores is not None:
        yes, no = item.output.scores[:2]
        return 0.0 if yes == no else yes - no
    if read.startswith("samples") and item.output.samples:
        said = [parse_answer(s, item.sample.options) for s in item.output.samples]
        leans = [lean.get(s or "", 0.5) for s in said]
        return sum(leans) / len(leans) if any(said) else math.nan
    return lean.get(choice(item, read) or "", math.nan)


def accuracy_measure(items: Sequence[Item], group: str, read: str, labels: Sequence[str]) -> Measure:
    """Macro-accuracy, accuracy and abstention of one group of questions, with the counts that belong beside them."""
    truths = [str(i.target) for i in items]
    stats = metrics.macro_accuracy.statistics(
        predictions=[choice(i, read) for i in items], references=truths, labels=labels
    )
    classes = {label: truths.count(label) for label in labels}
    notes: dict[str, Any] = {"classes": classes, "majority": max(classes.values()) / len(truths), **counts(items)}
    if tuple(labels) == YES_NO:
        notes["prevalence"] = classes[YES_NO[0]] / len(truths)
    notes["class_patients"] = class_patients(items)
    return Measure("macro_accuracy", group, stats, patients_of(items), profile=read, notes=notes)


def auc_measure(items: Sequence[Item], group: str, read: str) -> Measure:
    """AUC of one class of yes-or-no questions; target 1 or 0.

    An abstention is wrong: it is ranked behind every answer of the other label, so that not answering gains nothing.
    """
    truths = [int(i.target) for i in items]
    leans = [margin(i, read) for i in items]
    scores = [(-math.inf if t else math.inf) if math.isnan(s) else s for s, t in zip(leans, truths, strict=True)]
    stats = metrics.auc.statistics(predictions=scores, references=truths)
    notes: dict[str, Any] = {"positive": sum(truths), "prevalence": sum(truths) / len(truths), **counts(items)}
    notes |= {"abstained": sum(map(math.isnan, leans)), "class_patients": class_patients(items)}
    return Measure("auc", group, stats, patients_of(items), profile=read, notes=notes)


def class_patients(items: Sequence[Item]) -> dict[str, int]:
    """How many patients have a question with each truth: what tells whether the counts may be shown."""
    patients: dict[str, set[str]] = {}
    for item, patient in zip(items, patients_of(items), strict=True):
        patients.setdefault(str(item.target), set()).add(patient)
    return {truth: len(mine) for truth, mine in sorted(patients.items())}


def patients_of(items: Iterable[Item]) -> tuple[str, ...]:
    """The cluster of each item; an item without a patient is one of its own."""
    return tuple(i.sample.patient or f"sample {i.sample.id}" for i in items)


def counts(items: Sequence[Item]) -> dict[str, int]:
    """How many questions there are, how many have no answer, and how many an answer without a word."""
    came = [i for i in items if isinstance(i.output, Output)]
    return {"n": len(items), "failed": len(items) - len(came), "empty": sum(not i.text.strip() for i in came)}
