"""A model of transformers, with or without an adapter: batched, images decoded once, bfloat16 where the device has it.

Closed questions are answered by the log-likelihood of their options at the first position, nothing is sampled; with
`answers=text` they are written out and parsed, with `samples=K` asked K times at random. Free text is written greedily.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from cxr_max.errors import DataError, UsageError
from cxr_max.evaluation import likelihood, models, writing
from cxr_max.evaluation.continuation import Begun, Continuations
from cxr_max.evaluation.inputs import Encoded, Questions
from cxr_max.evaluation.models import Loaded
from cxr_max.evaluation.types import Failure, Output, Sample
from cxr_max.evaluation.writing import Decoding
from cxr_max.optional import require

NAME = "hf"
START = {"cuda": 64, "cpu": 8}
"""Where the search for a batch size begins, by kind of device."""
ANSWERS = ("score", "text")
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How a model is asked; everything here may change an answer and stands in the run's settings.

    Attributes:
        answers: `score` reads closed questions off the options' log-likelihood, `text` writes the answer out.
        samples: K answers at random for a closed question, 0 = none.
        temperature: of what is written; without a value 0 (the likeliest token), with samples 1.
        seed: of the draws.
        max_tokens: longest answer.
        images: False asks without images: the text-only control.
        device: such as `cuda:1`; auto takes the accelerator of this process.
        dtype: bfloat16, float16, float32; auto is bfloat16 where the device computes in it.
        min_pixels, max_pixels: of the image processor; None leaves the model's own.
    """

    answers: str = "score"
    samples: int = 0
    temperature: float | None = None
    seed: int = 0
    max_tokens: int = 512
    images: bool = True
    device: str = "auto"
    dtype: str = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS:
            raise UsageError(f"answers={self.answers!r}; allowed: {', '.join(ANSWERS)}")
        if self.samples and self.heat <= 0:
            raise UsageError(f"samples={self.samples} at temperature {self.heat:g} are all the same")

    @property
    def heat(self) -> float:
        """The temperature in force."""
        return float(self.samples > 0) if self.temperature is None else self.temperature

    @property
    def limits(self) -> dict[str, int]:
        """Arguments of the image processor that are given."""
        given = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return {k: v for k, v in given.items() if v is not None}

    @property
    def decoding(self) -> Decoding:
        """How text is written."""
        return Decoding(self.max_tokens, self.heat, self.seed)


class HF:
    """A loaded model behind the questions; answers come in order, a batch at a time.

    Args:
        loaded: model and renderer.
        name: as printed.
        options: how it is asked.
        batch_size: questions in one forward; None starts at `START` and halves when memory runs out.
    """

    whole_batches = True

    def __init__(self, loaded: Loaded, name: str, options: Options, batch_size: int | None = None) -> None:
        self.name, self.revision = f"{NAME}:{name}", loaded.revision()
        parameter = next(loaded.model.parameters())
        self.settings: Mapping[str, Any] = {
            **vars(options.decoding), **options.limits, "answers": options.answers, "samples": options.samples,
            "images": options.images, "dtype": str(parameter.dtype).removeprefix("torch."),
        }  # fmt: skip
        self.model, self.tokenizer = loaded.model, loaded.renderer.tokenizer
        self._continuations = Continuations(loaded.model, loaded.renderer, images=options.images)
        self._questions = Questions(loaded.renderer, images=options.images)
        self._options, self._fixed = options, batch_size
        self.batch_size = batch_size or START.get(parameter.device.type, START["cpu"])
        self._known: dict[tuple[str, tuple[str, ...]], Output] = {}
        self.training = loaded.training_ids
        # What a model writes is derived from what it was trained on, on whatever images it is asked.
        self.derived = bool(loaded.training) and not loaded.training.get("synthetic")

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        """One answer a sample; an image that cannot be read is a failure."""
        at = 0
        while at < len(samples):
            answers = self._fitting(lambda n, at=at: self._answer(samples[at : at + n]))  # type: ignore[misc]
            yield from answers
            at += len(answers)

    def _fitting(self, work: Callable[[int], list[T]]) -> list[T]:
        """Do work on as many as fit into memory.

        Raises:
            UsageError: the batch size was given and does not fit.
        """
        memory = require("accelerate.utils.memory", extra="train")
        while True:
            try:
                return work(self.batch_size)
            except Exception as e:
                if not memory.should_reduce_batch_size(e):
                    raise
                if self._fixed is not None or self.batch_size == 1:
                    raise UsageError(
                        f"memory runs out at {self.batch_size} questions in a batch",
                        next="--batch-size auto, or smaller images: --model-args max_pixels=N",
                    ) from e
            memory.clear_device_cache(garbage_collection=True)
            self.batch_size //= 2

    def _answer(self, samples: Sequence[Sample]) -> list[Output | Failure]:
        answers: dict[int, Output | Failure] = {}
        encoded: dict[int, Encoded] = {}
        for i, sample in enumerate(samples):
            if isinstance(sample, Begun):
                answers[i] = self._continuations.score(sample)
                continue
            known = self._known.get((sample.prompt, sample.options))
            if known is not None:
                answers[i] = known
                continue
            try:
                encoded[i] = self._questions.encode(sample)
            except DataError as e:
                answers[i] = Failure(e.problem)
        closed = {i for i in encoded if samples[i].options}
        for options in dict.fromkeys(samples[i].options for i in sorted(closed)):
            mine = [i for i in sorted(closed) if samples[i].options == options]
            answers |= self._choose(mine, samples, encoded, options)
        answers |= self._write([i for i in encoded if i not in closed], samples, encoded)
        return [answers[i] for i in range(len(samples))]

    def _choose(
        self, which: list[int], samples: Sequence[Sample], encoded: Mapping[int, Encoded], options: tuple[str, ...]
    ) -> dict[int, Output]:
        if self._options.samples or self._options.answers == "text":
            return self._write(which, samples, encoded, times=self._options.samples)
        written = likelihood.surfaces(self.tokenizer, options)
        scores = likelihood.score(self.model, [encoded[i] for i in which], written, pad=self._pad)
        found = {i: Output(_likeliest(options, s), s) for i, s in zip(which, scores, strict=True)}
        return self._kept(samples, found)

    def _kept(self, samples: Sequence[Sample], found: dict[int, Output]) -> dict[int, Output]:
        """Keep answers for their questions: without images a question is its text, asked many thousand times."""
        if not self._options.images:
            self._known |= {(samples[i].prompt, samples[i].options): answer for i, answer in found.items()}
        return found

    def _write(
        self, which: list[int], samples: Sequence[Sample], encoded: Mapping[int, Encoded], *, times: int = 0
    ) -> dict[int, Output]:
        if not which:
            return {}
        keys = [f"{samples[i].id}/{k}" for i in which for k in range(max(times, 1))]
        rows = [encoded[i] for i in which for _ in range(max(times, 1))]
        texts = writing.write(self.model, self.tokenizer, rows, keys, self._options.decoding)
        if not times:
            written = {i: Output(t) for i, t in zip(which, texts, strict=True)}
            # What is drawn differs from sample to sample; what is likeliest does not.
            return written if self._options.heat else self._kept(samples, written)
        drawn = [tuple(texts[n * times : (n + 1) * times]) for n in range(len(which))]
        return {i: Output(d[0], None, d) for i, d in zip(which, drawn, strict=True)}

    @property
    def _pad(self) -> int:
        found = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)


def _likeliest(options: tuple[str, ...], scores: tuple[float, ...]) -> str:
    return options[max(range(len(options)), key=scores.__getitem__)]


def make(model: str = "", adapter: str = "", batch_size: int | str = "auto", **options: Any) -> HF:
    """Load a model of transformers, an adapter on one, or a checkpoint of our training.

    Args:
        model: folder or hub name; with an adapter it may be left out.
        adapter: folder of a PEFT adapter.
        batch_size: questions in one forward, or `auto`.
        **options: of `Options`, also as text.

    Raises:
        UsageError: an argument that does not exist, a value that is not allowed, or no model.
        MissingFileError: no such folder.
    """
    chosen = Options(**{k: _parsed(k, v) for k, v in options.items()})
    size = None if batch_size == "auto" else _whole("batch_size", batch_size)
    loaded = models.load(model, adapter=adapter, device=chosen.device, dtype=chosen.dtype, **chosen.limits)
    named = [model, adapter] if model else [adapter]
    return HF(loaded, " + ".join(filter(None, map(_last, named))), chosen, size)


def _last(path: str) -> str:
    """The last part of a path: the whole one says more about a machine than about a model."""
    return path.rstrip("/").rpartition("/")[2]


def _parsed(name: str, value: Any) -> Any:
    """An option from text, by the type of its default."""
    known = {f.name: f for f in fields(Options)}
    if name not in known:
        raise UsageError(f"model hf has no argument {name!r}; its arguments: {', '.join(['model', 'adapter', *known])}")
    if not isinstance(value, str):
        return value
    if name == "images":
        return value.lower() != "false"
    if name == "temperature":
        return _number(name, value)
    return (
        value if isinstance(known[name].default, str) else _whole(name, value, 0 if name in ("samples", "seed") else 1)
    )


def _whole(name: str, value: int | str, least: int = 1) -> int:
    number = _number(name, value)
    if number < least or number != int(number):
        raise UsageError(f"{name}={value!r}; allowed: whole numbers from {least}")
    return int(number)


def _number(name: str, value: float | str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"{name}={value!r}; allowed: numbers from 0")
    return number
