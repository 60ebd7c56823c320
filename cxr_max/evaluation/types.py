"""What a task asks, what a model answers, and what is stored of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cxr_max.roots import Root


@dataclass(frozen=True)
class Sample:
    """One question to a model.

    Attributes:
        id: unique within the task's question set.
        prompt: text of the question, free of the answer.
        images: image files in the order in which the prompt speaks of them.
        options: closed answers in order; empty for free text.
        patient: cluster for intervals; None when the set has no patients.
        diseases: diagnoses given to the model; only in tasks whose name ends in `_given_dx`.
        finding: what a yes-or-no question asks about.
    """

    id: str
    prompt: str
    images: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    patient: str | None = None
    diseases: tuple[str, ...] = ()
    finding: str = ""


@dataclass(frozen=True)
class Output:
    """A model's answer.

    Attributes:
        text: what it wrote, complete.
        scores: log-likelihood of each option in the sample's order, when the model gives them; a baseline's are on a
            scale of their own.
        samples: all the answers when one question was asked several times at random, `text` the first of them.
    """

    text: str
    scores: tuple[float, ...] | None = None
    samples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A question the model could not be asked or did not answer: recorded, retried by the next run, counted."""

    reason: str


@dataclass(frozen=True)
class Item:
    """A question with its true answer and what the model said.

    Attributes:
        sample: the question.
        target: the truth, in the task's own form; never shown to a model.
        group: finding or class the question belongs to.
        output: the answer, or why there is none; None = not asked yet.
        asked: False for a question whose truth is missing: it is counted, not asked.
    """

    sample: Sample
    target: Any
    group: str = "all"
    output: Output | Failure | None = None
    asked: bool = True

    @property
    def text(self) -> str:
        """The answer's text; empty when there is none."""
        return self.output.text if isinstance(self.output, Output) else ""


@dataclass(frozen=True)
class Measure:
    """Per-sample statistics of one score, from which the value and its interval are computed.

    Attributes:
        metric: name of a metric.
        group: finding, class or "all".
        stats: float64 [S, K] as the metric's `statistics` gives.
        patients: cluster of each of the S samples.
        keep: the scores of the metric to report; all when empty.
        profile: variant of the metric, such as a text profile; stands in the signature.
        averaged: whether the mean over this measure's siblings means something (findings: yes, profiles: no).
        notes: counts that belong beside the number (n, prevalence, majority, missing).
    """

    metric: str
    group: str
    stats: Any
    patients: tuple[str, ...]
    keep: tuple[str, ...] = ()
    profile: str = ""
    averaged: bool = True
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where a task finds its data.

    Attributes:
        roots: folders of the datasets.
        limit: at most so many samples, the first in the order of a hash of their id; None = all.
        release: a release folder, for tasks that need one.
        truth: the `truth` folder of a synthetic world, for tasks that need one.
        options: of tasks that have some, name to text; they change how answers are graded, never what is asked.
    """

    roots: tuple[Root, ...] = ()
    limit: int | None = None
    release: Path | None = None
    truth: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def paths(self, *names: str) -> tuple[Path, ...]:
        """Folders of the datasets that are named, in order."""
        return tuple(r.path for name in names for r in self.roots if r.name == name)


class Model(Protocol):
    """What identifies a model in a journal."""

    @property
    def name(self) -> str:
        """Kind and model, as printed."""

    @property
    def revision(self) -> str:
        """Identifies the weights or the file."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that may change an answer."""


class Predictor(Model, Protocol):
    """Something that answers questions.

    Three attributes may stand on it beside these. `training`: instance ids the model was trained on, empty for what was
    never trained; without it the overlap with MIMIC-CXR tasks is not established. `derived` = True: trained on real
    data, so that its answers are restricted whatever it is asked about. `whole_batches` = True: answers may change in
    the last digits with what stands in the same batch, so a batch is asked again whole when a kill left part of it.
    """

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        """Answer in order, one by one, so that each can be stored as it comes."""
