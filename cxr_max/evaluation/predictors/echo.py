"""Baseline: repeats the diagnoses the prompt names, without looking; for tasks whose name ends in `_given_dx`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_max.evaluation.types import Output, Sample

NAME = "echo"


class Echo:
    """Answers yes to a finding the prompt names, no to others, and repeats the diagnoses as free text."""

    name = NAME
    revision = "1"
    settings: Mapping[str, Any] = {}
    training: Sequence[str] = ()

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        """One answer a sample."""
        for sample in samples:
            if sample.options == ("yes", "no"):
                named = [d.lower() for d in sample.diseases]
                yield Output("yes" if sample.finding.lower() in named else "no")
            else:
                yield Output(". ".join(sample.diseases))


def make() -> Echo:
    """The echo baseline."""
    return Echo()
