"""Rows of one part of a report, which join the frames."""

from typing import Any, NamedTuple

Rows = list[dict[str, Any]]


class Extra(NamedTuple):
    """Rows for each frame, notes, and entries of `about`; parts are put together by `+`."""

    teachers: Rows = []
    pairs: Rows = []
    findings: Rows = []
    steps: Rows = []
    tests: Rows = []
    notes: tuple[str, ...] = ()
    about: dict[str, Any] = {}

    def __add__(self, other: "Extra") -> "Extra":  # type: ignore[override]
        """Both parts together."""
        return Extra(
            [*self.teachers, *other.teachers], [*self.pairs, *other.pairs], [*self.findings, *other.findings],
            [*self.steps, *other.steps], [*self.tests, *other.tests],
            (*self.notes, *other.notes), {**self.about, **other.about},
        )  # fmt: skip
