"""Baseline: an option drawn from a hash of seed and sample: the same on every machine and in any order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_max.evaluation.types import Output, Sample

NAME = "random"


class Random:
    """Answers at random; option scores are random too."""

    name = NAME
    revision = "1"
    training: Sequence[str] = ()

    def __init__(self, seed: int) -> None:
        self.settings: Mapping[str, Any] = {"seed": seed}
        self._seed = seed

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output]:
        """One answer a sample; empty for free text."""
        for sample in samples:
            digests = [self._draw(sample.id, i) for i in range(len(sample.options))]
            best = max(range(len(digests)), key=digests.__getitem__, default=None)
            yield Output("" if best is None else sample.options[best], tuple(digests) or None)

    def _draw(self, sample: str, option: int) -> float:
        digest = hashlib.sha256(f"{self._seed}/{sample}/{option}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def make(seed: int | str = 0) -> Random:
    """The random baseline with a seed."""
    return Random(int(seed))
