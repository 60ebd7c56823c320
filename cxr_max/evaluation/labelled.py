"""Other extractors in grading: what a labeler or RadGraph read from the texts, beside our rules, under its own key.

An extractor is a module of `findings.adapters` with a file: `labels_csv=PATH` (CheXpert's or CheXbert's output) or
`radgraph=PATH`. Its scores carry `<extractor>/<version>` as their group and the file's hash in their signature.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_max.errors import UsageError
from cxr_max.evaluation import ask, metrics
from cxr_max.evaluation.types import Item, Measure
from cxr_max.findings import adapters, chexpert
from cxr_max.findings.model import Extraction, Role

NOTHING = Extraction((), True, ())


def parse(options: Sequence[str]) -> dict[str, Path]:
    """`NAME=PATH` options as extractors with their files.

    Raises:
        UsageError: no `=` in one, or the same extractor twice.
        UnknownNameError: no such extractor.
    """
    found: dict[str, Path] = {}
    for text in options:
        name, equals, path = text.partition("=")
        if not equals or not path or name in found:
            raise UsageError(f"--extractor {text!r}; allowed: {' or '.join(adapters.names())} once each, as NAME=PATH")
        adapters.get(name)
        found[name] = Path(path).expanduser()
    return found


def build(files: Mapping[str, Path]) -> list[Any]:
    """The extractors, their files read and checked.

    Raises:
        MissingFileError, DataError: a file is not there or not of its form.
    """
    return [adapters.get(name).build(path) for name, path in files.items()]


def measures(items: Sequence[Item], extractors: Sequence[Any]) -> list[Measure]:
    """Label F1, and precision and recall of findings, by each extractor; for answers and references that are reports.

    Raises:
        DataError: a text is not among those the extractor's file is about.
    """
    asked = [i for i in items if i.asked]
    found = []
    for extractor in extractors if asked else ():
        key = f"{extractor.name}/{extractor.version}"
        said = [_extract(extractor, i.text, "candidate") for i in asked]
        true = [_extract(extractor, str(i.target), "reference") for i in asked]
        stats = {
            "f1_labels14": metrics.f1_labels14.statistics(
                predictions=list(map(_labels, said)), references=list(map(_labels, true))
            ),
            "finding_pr": metrics.finding_pr.statistics(predictions=said, references=true),
        }
        profile, patients, notes = f"{key} {extractor.config_hash}", ask.patients_of(asked), ask.counts(asked)
        for name, values in stats.items():
            found.append(Measure(name, key, values, patients, profile=profile, averaged=False, notes=notes))
    return found


def _extract(extractor: Any, text: str, role: Role) -> Extraction:
    """An answer that is empty or missing says nothing; no labeler need have seen it."""
    found: Extraction = extractor.extract(text, role=role) if text.strip() else NOTHING
    return found


def _labels(extraction: Extraction) -> str:
    """Names of the labels that are present or uncertain; a text that says nothing has none, No Finding included."""
    if extraction is NOTHING:
        return ""
    return "|".join(name for name, value in chexpert.of_findings(extraction.findings).items() if value in (1, -1))
