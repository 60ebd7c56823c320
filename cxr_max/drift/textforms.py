"""Three views of a trajectory for two-sample statistics: raw text, content, and format.

Raw text holds style and content; only content may be called reasoning. Content leaves out Markdown, headings, generic,
disclaimer and advice steps, normalises side and status words, and takes equally many steps from every teacher of a
study. Format holds counts of layout and length only: the baseline a content difference has to beat.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_max import findings
from cxr_max.optional import require

Floats = NDArray[np.float64]
DIMENSIONS = 64
_MARKUP = re.compile(r"[*_#`>|~]+|^\s*(?:[-•+]|\d+[.)])\s+", re.MULTILINE)
_SIDE = re.compile(r"\b(?:left|right|bilateral(?:ly)?|both sides?|unilateral)\b", re.IGNORECASE)
_STATUS = re.compile(
    r"\b(?:no|not|without|absent|absence of|free of|negative for|may|might|could|possib(?:le|ly)|likely|probabl[ey]"
    r"|suggest(?:s|ive)?(?: of)?|cannot exclude|questionable|uncertain)\b",
    re.IGNORECASE,
)
_COUNTED = {
    "bold": re.compile(r"\*\*"), "heading": re.compile(r"^\s*#", re.MULTILINE), "line": re.compile(r"\n"),
    "bullet": re.compile(r"^\s*[-*•+]\s", re.MULTILINE), "number": re.compile(r"^\s*\d+[.)]\s", re.MULTILINE),
    "comma": re.compile(r","), "colon": re.compile(r":"), "semicolon": re.compile(r";"), "digit": re.compile(r"\d"),
    "bracket": re.compile(r"[()]"), "dash": re.compile(r"[–—]"), "word": re.compile(r"\S+"),
    "sentence": re.compile(r"[.!?](?:\s|$)"),
}  # fmt: skip


def content_steps(text: str) -> list[str]:
    """Content of a trajectory step by step: no layout, no generic step, sides and statuses as one token each."""
    steps = [_MARKUP.sub(" ", s.text) for s in findings.segment(text) if not s.generic]
    return [" ".join(_STATUS.sub("status", _SIDE.sub("side", s)).lower().split()) for s in steps]


def content(texts: Sequence[Sequence[str]], seed: int) -> list[list[str]]:
    """Content of studies x teachers: from each teacher as many steps as the shortest has, drawn at random, in order.

    A teacher without any content step gives an empty text and does not shorten the others.
    """
    rng = np.random.default_rng(seed)
    out = []
    for study in texts:
        steps = [content_steps(t) for t in study]
        least = min((len(s) for s in steps if s), default=0)
        row = []
        for s in steps:
            chosen = sorted(rng.choice(len(s), min(least, len(s)), replace=False)) if s else []
            row.append(" ".join(s[k] for k in chosen))
        out.append(row)
    return out


def format_features(texts: Sequence[str]) -> Floats:
    """log(1 + count) of layout and length marks, one row per text."""
    counts = [[len(pattern.findall(t)) for pattern in _COUNTED.values()] for t in texts]
    return np.asarray(np.log1p(np.array(counts, dtype=float).reshape(len(texts), len(_COUNTED))))


def embed(texts: Sequence[str], seed: int) -> Floats:
    """Lexical embedding: TF-IDF of words, reduced to at most 64 dimensions by a seeded truncated SVD, unit length."""
    text = require("sklearn.feature_extraction.text", extra="drift")
    try:
        matrix = text.TfidfVectorizer(lowercase=True, sublinear_tf=True, min_df=2).fit_transform(texts)
    except ValueError:
        return np.zeros((len(texts), 1))
    size = min(DIMENSIONS, min(matrix.shape) - 1)
    if size < 1:
        return np.asarray(matrix.toarray(), dtype=float)
    svd = require("sklearn.decomposition", extra="drift").TruncatedSVD(size, n_iter=4, random_state=seed)
    reduced = np.asarray(svd.fit_transform(matrix), dtype=float)
    return np.asarray(reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12))
