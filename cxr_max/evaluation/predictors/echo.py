"""Baseline: repeats the diagnoses the prompt names, without looking; for tasks whose name ends in `_given_dx`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_max.evaluation.types import Output, Sample

NAME = "echo"


class Echo:
    """Answers yes to a finding the prompt names, no to others, and repeats the diagnoses as free text.

    A yes or no comes with option scores, 1 and 0, so that it stands beside models that score the options.
    """

    name = NAME
    revision = "2"
    settings: Mapping[str, Any] = {}
    training: Sequence[str] = ()

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        """One answer a sample."""
        for sample in samples:
            if sample.options == ("yes", "no"):
                named = [d.lower() for d in sample.diseases]
                is_named = sample.finding.lower() in named
                yield Output("yes" if is_named else "no", (float(is_named), float(not is_named)))
            else:
                yield Output(". ".join(sample.diseases))


def make() -> Echo:
    """The echo baseline."""
    return Echo()
