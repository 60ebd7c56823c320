"""METEOR 1.5 by its own Java program, as pycocoevalcap calls it (English, -norm); needs Java and the jar.

Per-report statistics come from the program; the corpus score is computed from their sums (not the mean of reports), by
the published formula with the program's English parameters. Range [0, 1]. Source: Denkowski and Lavie 2014.

Of a text of more than 4,000 words, which no report is, the first 4,000 are scored: at a megabyte the program runs out
of memory, and would take all other reports with it.

The jar is taken from `$CXR_MAX_METEOR_JAR`, else from an installed pycocoevalcap.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from cxr_max.errors import DataError, MissingExtraError
from cxr_max.evaluation.text import prepare

NAME, VERSION = "meteor", "2"
ALONE = True
TOKENS = "meteor-1.5 -norm"
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Exact, stem, synonym, paraphrase; printed by the program at its start."""
COLUMNS = 23
MAX_WORDS = 4_000
INSTALL = "install Java 8 or newer, then: pip install --no-deps pycocoevalcap==1.2"


def jar() -> Path:
    """Where the program is.

    Raises:
        MissingExtraError: Java or the jar is not there; the message names the install line.
    """
    given = os.environ.get("CXR_MAX_METEOR_JAR")
    spec = importlib.util.find_spec("pycocoevalcap")
    folder = Path(next(iter(spec.submodule_search_locations or [""]))) / "meteor" if spec else Path()
    path = Path(given).expanduser() if given else folder / "meteor-1.5.jar"
    if shutil.which("java") is None or not path.is_file():
        raise MissingExtraError("METEOR is not available: it needs Java and meteor-1.5.jar", next=INSTALL)
    return path


def statistics(*, predictions: Sequence[str], references: Sequence[Any], **options: Any) -> Any:
    """The program's 23 numbers of each report: lengths, function words, matches by stage, chunks, matched words."""
    hypotheses, listed = prepare(predictions, references, **options)
    with _program() as (to, back):
        rows = [_ask(to, back, h, rs) for h, rs in zip(hypotheses, listed, strict=True)]
    stats = np.array(rows, dtype=np.float64)
    # A report matched as a whole in one chunk has no fragmentation, also within a corpus.
    whole = (stats[:, 21] == stats[:, 0]) & (stats[:, 22] == stats[:, 1]) & (stats[:, 20] == 1)
    stats[whole, 20] = 0.0
    return stats


@contextmanager
def _program() -> Iterator[tuple[IO[str], IO[str]]]:
    path = jar()
    command = ["java", "-Xmx2G", "-jar", path.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=path.parent, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8", errors="replace"
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout
    finally:
        process.kill()
        process.wait()


def _ask(to: IO[str], back: IO[str], hypothesis: str, references: list[str]) -> list[float]:
    line = " ||| ".join(["SCORE", *map(_one_line, references), _one_line(hypothesis)])
    try:
        to.write(f"{line}\n")
        to.flush()
        answer = back.readline().split()
    except BrokenPipeError:
        answer = []
    if len(answer) != COLUMNS:
        raise DataError("the METEOR program stopped or answered in another form", next="run java -version; then again")
    return [float(x) for x in answer]


def _one_line(text: str) -> str:
    return " ".join(text.replace("|||", " ").split()[:MAX_WORDS])


def aggregate(stats_SK: Any, weights_DS: Any) -> dict[str, Any]:
    """METEOR of each weighting from its summed statistics, [D]; NaN when a weighting has no samples."""
    s = weights_DS @ stats_SK
    words, reference_words, function, reference_function = s[:, :4].T
    # Stage by stage: matched content words of candidate and reference, matched function words of both.
    content_c, content_r, function_c, function_r = (s[:, 4 + i : 20 : 4] @ STAGE_WEIGHTS for i in range(4))
    chunks, matched, reference_matched = s[:, 20:23].T
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = _weighted(content_c, function_c, words, function)
        recall = _weighted(content_r, function_r, reference_words, reference_function)
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        score = mean * (1 - GAMMA * (chunks / ((matched + reference_matched) / 2)) ** BETA)
    nothing = (matched == 0) | (precision == 0) | (recall == 0)
    return {"meteor": np.where(weights_DS.sum(axis=1) == 0, np.nan, np.where(nothing, 0.0, score))}


def _weighted(content: Any, function: Any, words: Any, function_words: Any) -> Any:
    length = DELTA * (words - function_words) + (1 - DELTA) * function_words
    return (DELTA * content + (1 - DELTA) * function) / length
