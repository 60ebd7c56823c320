"""Form of the answers: words, share with Markdown, share that is empty; precision may differ by these alone."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

NAME, VERSION = "style", "1"
TOKENS = "white space"
BETTER = {"words": 0, "markdown": 0, "empty": -1}
MARKDOWN = re.compile(r"^\s{0,3}(?:#{1,6}\s|[-*+]\s|\d+\.\s)|\*\*|__|`|^\s*\|.*\|\s*$", re.MULTILINE)


def statistics(*, predictions: Sequence[str], references: Sequence[Any] = ()) -> Any:
    """Rows of [words, has Markdown, is empty]; references are not looked at."""
    rows = [(len(p.split()), MARKDOWN.search(p) is not None, not p.strip()) for p in predictions]
    return np.array(rows, dtype=np.float64)


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """Scores words, markdown, empty of each weighting, [D]; NaN when it has no samples."""
    with np.errstate(invalid="ignore"):
        means = weights_DS @ stats_SK / weights_DS.sum(axis=1, keepdims=True)
    return dict(zip(("words", "markdown", "empty"), means.T, strict=True))


def without_markdown(text: str) -> str:
    """The text without the marks of Markdown, its words and line breaks kept."""
    text = re.sub(r"^\s{0,3}(?:#{1,6}\s+|[-*+]\s+|>\s?)", "", text, flags=re.MULTILINE)
    return re.sub(r"\*\*|__|`+", "", text)
