"""The paper's own figures on teacher drift, to stand beside ours."""

import tomllib
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """One teacher in the paper's Figure 1a: finding precision, recall and text similarity, each read to about .01."""

    teacher: str
    precision: float
    recall: float
    similarity: float

    @property
    def average(self) -> float:
        """Mean of the three, as the paper prints it."""
        return (self.precision + self.recall + self.similarity) / 3

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; the paper does not print it."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def figure_1a() -> tuple[Published, ...]:
    """The paper's Figure 1a, one row per teacher in its order."""
    table = tomllib.loads(files("cxr_max.drift").joinpath("published.toml").read_text(encoding="utf-8"))
    return tuple(Published(teacher, *values) for teacher, values in table["figure_1a"].items())
