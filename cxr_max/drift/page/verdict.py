"""Two sentences on top of the report, computed from its tests: what holds, how large, and what could not be told."""

from typing import Any

from cxr_max.drift.page.data import Cell, Data
from cxr_max.drift.page.draw import short

ALPHA = 0.05
SCORE = "precision_above_shuffle"


def verdict(data: Data) -> tuple[str, str]:
    """The first sentence says whether and how far the teachers differ, the second whether they drift as they reason."""
    return _differ(data), _along(data)


def _differ(data: Data) -> str:
    diverge = next((t for t in data.tests("headline") if t["test"] == "teachers diverge"), None)
    n = len(data.teachers)
    if diverge is None or diverge["p_adjusted"] is None:
        return f"With {n} teacher{'s' if n != 1 else ''} in these data nothing can be said about how teachers differ."
    size = f"{diverge['statistic']:.3f} bits, adjusted p {_p(diverge['p_adjusted'])}"
    if diverge["p_adjusted"] > ALPHA:
        smallest = diverge["smallest_detectable"]
        seen = f"; a divergence of {smallest:.3f} bits would have been found" if smallest is not None else ""
        return f"No difference between the {n} teachers was found ({size}{seen})."
    text = f"The {n} teachers tell different things about the same images ({size})"
    extremes = _extremes(data, SCORE)
    if extremes is None:
        return f"{text}; how right they are needs the reports: add --mimic-root PATH."
    (best, high), (worst, low) = ((short(data.display(t)), _interval(c)) for t, c in extremes)
    what = "precision of findings above what the named diagnoses alone would give"
    if _differs(data):
        return f"{text}; {what} is highest with {best} ({high}) and lowest with {worst} ({low})."
    return f"{text}, but in {what} no teacher was shown to stand out: it runs from {worst} ({low}) to {best} ({high})."


def _differs(data: Data) -> bool:
    tests = (t for t in data.tests("headline", "any teacher differs") if t["metric"] == SCORE)
    return any(t["p_adjusted"] is not None and t["p_adjusted"] <= ALPHA for t in tests)


def _extremes(data: Data, metric: str) -> tuple[tuple[str, Cell], tuple[str, Cell]] | None:
    found = [(t, c) for t in data.teachers if (c := data.cell(t, metric)) is not None and c.value is not None]
    if len(found) < 2:
        return None
    found.sort(key=lambda pair: pair[1].value or 0.0)
    return found[-1], found[0]


def _along(data: Data) -> str:
    test = next((t for t in data.tests("headline") if t["test"].startswith("disagreement has a trend")), None)
    if test is None or test["p_adjusted"] is None:
        return "Whether they drift apart along the reasoning cannot be told from these data."
    tested = f"adjusted p {_p(test['p_adjusted'])}"
    if test["p_adjusted"] <= ALPHA:
        more, rises = ("more", "rises") if test["statistic"] > 0 else ("less", "falls")
        return (
            f"The later a statement stands among statements of its kind, the {more} it is disputed: the share of the "
            f"other teachers who disagree with it {rises} by {abs(test['statistic']):.3f} from the first to the last "
            f"({tested})."
        )
    smallest: Any = test["smallest_detectable"]
    seen = f"; {smallest:.3f} would have been found" if smallest is not None else ""
    return (
        "No drift along the reasoning was found: the share of the other teachers who disagree with a statement was not "
        "shown to change with its place among statements of its kind "
        f"(change {round(test['statistic'], 3) + 0.0:+.3f}, {tested}{seen})."
    )


def _interval(cell: Cell) -> str:
    if cell.value is None or cell.low is None or cell.high is None:
        return "interval undefined"
    value, low, high = (f"{round(v, 3) + 0.0:.3f}" for v in (cell.value, cell.low, cell.high))
    return f"{value}, 95 % interval {low} to {high}"


def _p(value: float) -> str:
    return "below .001" if value < 0.001 else f"{value:.3f}"
