"""Text as the report-generation literature scores it: three named profiles, printed with every number.

    raw     the string as given
    clean   lower-cased, punctuation removed, sentences joined by " . "; nothing cut
    r2gen   clean, then words outside a vocabulary replaced, then references cut to the length R2Gen feeds its model

The cleaning follows the behaviour of R2Gen's tokenizer for MIMIC-CXR: list numbers go, "1.5 cm" becomes "15 cm".
"""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from cxr_max.errors import UnknownNameError, UsageError

PROFILES = ("raw", "clean", "r2gen")
MAX_WORDS = 99
"""R2Gen's max_seq_length of 100 ids for MIMIC-CXR includes the one that begins a text."""
UNKNOWN = "<unk>"

_NUMBERS = [("1. ", "")] + [(f". {n}. ", ". ") for n in "2345"] + [(f" {n}. ", ". ") for n in "2345"]
# The original class has the range ":-[", which takes ; < = > ? @ and capitals along; the text is lower-case by then.
_PUNCTUATION = str.maketrans("", "", ".,?;*!%^&_+():<=>@[]{}\"/\\'")


def clean(text: str) -> str:
    """Clean one report; sentences are separated by " . " and the text ends with " ."."""
    text = re.sub("_{2,}", "_", text.replace("\n", " "))
    text = re.sub(r"\.{2,}", ".", re.sub(" {2,}", " ", text))
    for number, instead in _NUMBERS:
        text = text.replace(number, instead)
    sentences = [s.translate(_PUNCTUATION) for s in text.strip().lower().split(". ")]
    return " ".join((" . ".join(sentences) + " .").split())


def prepare(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    profile: str = "clean",
    vocabulary: Collection[str] | None = None,
    max_words: int = MAX_WORDS,
) -> tuple[list[str], list[list[str]]]:
    """Bring predictions and references into a profile.

    Args:
        predictions: S texts.
        references: S texts, or S lists of texts where a sample has several references.
        profile: raw, clean or r2gen.
        vocabulary: words the r2gen profile keeps on both sides; all when None.
        max_words: words the r2gen profile keeps of a reference.

    Raises:
        UsageError: different numbers of predictions and references, none at all, a sample without a reference, or
            something that is not a text.
        UnknownNameError: no such profile.
    """
    if profile not in PROFILES:
        raise UnknownNameError.of("profile", profile, PROFILES)
    if len(predictions) != len(references):
        raise UsageError(f"{len(predictions)} predictions for {len(references)} references; one each is needed")
    listed = [[r] if isinstance(r, str) else list(r) for r in references]
    _check(predictions, listed)
    if profile == "raw":
        return list(predictions), listed
    if profile == "clean":
        return [clean(p) for p in predictions], [[clean(r) for r in rs] for rs in listed]
    keep = _keeper(vocabulary)
    cut = [[" ".join(keep(clean(r).split())[:max_words]) for r in rs] for rs in listed]
    return [" ".join(keep(clean(p).split())) for p in predictions], cut


def _keeper(vocabulary: Collection[str] | None) -> Callable[[list[str]], list[str]]:
    known = None if vocabulary is None else frozenset(vocabulary)
    return lambda words: words if known is None else [w if w in known else UNKNOWN for w in words]


def _check(predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> None:
    if not predictions:
        raise UsageError("no samples to score")
    for i, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str) or not all(isinstance(r, str) for r in reference):
            raise UsageError(f"sample {i}: predictions and references are texts, not {type(prediction).__name__}")
        if not reference:
            raise UsageError(f"sample {i} has no reference")
