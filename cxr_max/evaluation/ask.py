"""What the closed-answer tasks share: prompts from files, limits, answers as options, scores as differences."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from cxr_max.evaluation import metrics
from cxr_max.evaluation.answers import parse_answer
from cxr_max.evaluation.types import Item, Measure, Output

YES_NO: tuple[str, ...] = ("yes", "no")


@cache
def question(name: str) -> str:
    """The text of a question file, without its last line break."""
    return (
        resources.files("cxr_max.evaluation").joinpath("questions", f"{name}.txt").read_text(encoding="utf-8").rstrip()
    )


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
    """`score` when every answer that came has option scores, else `parse`; one method for all of a task's answers."""
    answers = [i.output for i in items if isinstance(i.output, Output)]
    return "score" if answers and all(a.scores is not None for a in answers) else "parse"


def choice(item: Item, read: str) -> str | None:
    """The option an answer stands for; None = abstained, failed or not asked."""
    if not isinstance(item.output, Output):
        return None
    if read == "score" and item.output.scores is not None:
        best = max(range(len(item.sample.options)), key=item.output.scores.__getitem__)
        return item.sample.options[best]
    return parse_answer(item.output.text, item.sample.options)


def margin(item: Item, read: str) -> float:
    """How far an answer leans to "yes": difference of option scores, else 1, 0 or 1/2 for yes, no and neither."""
    if read == "score" and isinstance(item.output, Output) and item.output.scores is not None:
        return item.output.scores[0] - item.output.scores[1]
    return {"yes": 1.0, "no": 0.0}.get(choice(item, read) or "", 0.5)


def accuracy_measure(items: Sequence[Item], group: str, read: str, labels: Sequence[str]) -> Measure:
    """Macro-accuracy, accuracy and abstention of one group of questions, with the counts that belong beside them."""
    truths = [str(i.target) for i in items]
    stats = metrics.macro_accuracy.statistics(
        predictions=[choice(i, read) for i in items], references=truths, labels=labels
    )
    classes = {label: truths.count(label) for label in labels}
    notes: dict[str, Any] = {"classes": classes, "majority": max(classes.values()) / len(truths), **counts(items)}
    return Measure("macro_accuracy", group, stats, patients_of(items), profile=read, notes=notes)


def auc_measure(items: Sequence[Item], group: str, read: str) -> Measure:
    """AUC of one class of yes-or-no questions; target 1 or 0."""
    scores = [margin(i, read) for i in items]
    stats = metrics.auc.statistics(predictions=scores, references=[int(i.target) for i in items])
    notes = {"positive": sum(int(i.target) for i in items), **counts(items)}
    return Measure("auc", group, stats, patients_of(items), profile=read, notes=notes)


def patients_of(items: Iterable[Item]) -> tuple[str, ...]:
    """The cluster of each item; an item without a patient is one of its own."""
    return tuple(i.sample.patient or f"sample {i.sample.id}" for i in items)


def counts(items: Sequence[Item]) -> dict[str, int]:
    """How many questions there are, and how many have no answer."""
    return {"n": len(items), "failed": sum(not isinstance(i.output, Output) for i in items)}
