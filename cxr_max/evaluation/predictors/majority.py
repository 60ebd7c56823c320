"""Baseline: for every question text the answer that is most often true on the samples themselves.

It looks at the truth, so it is no model but the height that plain accuracy reaches without looking at an image.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_max.evaluation.types import Item, Output, Sample

NAME = "majority"


class Majority:
    """Answers with the most frequent truth of a question's prompt, ties to the first in order of the options.

    It also gives option scores, 1 for its answer and 0 for the others, so that it stands beside models that do.
    """

    name = NAME
    revision = "2"
    settings: Mapping[str, Any] = {}
    training: Sequence[str] = ()

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}

    def prepare(self, items: Sequence[Item]) -> None:
        """Count the truths of each prompt; 1 and 0 mean the first and the second option."""
        truths: dict[str, Counter[str]] = {}
        for item in (i for i in items if i.sample.options):
            counts = truths.setdefault(item.sample.prompt, Counter(dict.fromkeys(item.sample.options, 0)))
            counts[_option(item)] += 1
        for prompt, counts in truths.items():
            if counts:
                self._answers[prompt] = counts.most_common(1)[0][0]

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        """One answer a sample; free text has no majority and gets an empty answer."""
        for sample in samples:
            answer = self._answers.get(sample.prompt, "")
            yield Output(answer, tuple(float(option == answer) for option in sample.options) or None)


def _option(item: Item) -> str:
    if isinstance(item.target, int):
        return item.sample.options[0 if item.target else 1]
    return str(item.target)


def make() -> Majority:
    """The majority baseline."""
    return Majority()
