"""A model behind an OpenAI-compatible endpoint such as vLLM: local, or remote under a declared retention term.

Such an endpoint gives no likelihoods of options, so a closed question is either answered in words (greedily), or asked
`samples` times at random, from which the zero-shot tasks take the share of yes. All are asked for at once (`n`); where
a server gives fewer, the rest one by one, each with a seed that depends on `seed`, question and place alone.
"""

import base64
import hashlib
import io
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cxr_max import mimic
from cxr_max.endpoint import Endpoint, EndpointError, Retention
from cxr_max.errors import CxrMaxError, UsageError
from cxr_max.evaluation.types import Failure, Output, Sample

NAME = "openai"
WORKERS = 8
_NO_MESSAGE = "the endpoint's answer has no message"


class OpenAI:
    """Asks several questions at a time; answers come back in order.

    Args:
        endpoint: where to ask.
        settings: temperature, max_tokens, samples, seed, images: everything that may change an answer.
        workers: questions on the way at a time.
    """

    def __init__(self, endpoint: Endpoint, settings: Mapping[str, Any], *, workers: int = WORKERS) -> None:
        self.name = f"{NAME}:{endpoint.model}"
        self.revision = endpoint.model
        declared = vars(endpoint.retention) if endpoint.retention else None
        self.settings: Mapping[str, Any] = {**settings, "retention": declared}
        self._endpoint, self._workers = endpoint, workers

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        """One answer a sample; what fails after all tries is a failure with its reason."""
        with ThreadPoolExecutor(self._workers) as pool:
            yield from pool.map(self._ask, samples)

    def _ask(self, sample: Sample) -> Output | Failure:
        try:
            content = [_picture(p) for p in sample.images] if self.settings["images"] else []
        except (CxrMaxError, OSError):
            # The path of an image holds the patient and study, so it stays out of the reason.
            return Failure("the image cannot be read")
        content.append({"type": "text", "text": sample.prompt})
        times = self.settings["samples"] if sample.options else 0
        try:
            said = self._drawn(content, sample, times) if times else self._said(content, sample)
        except EndpointError as e:
            return Failure(e.problem)
        except (KeyError, IndexError, TypeError, AttributeError):
            return Failure(_NO_MESSAGE)
        return Output(said[0], None, tuple(said) if times else ()) if said else Failure(_NO_MESSAGE)

    def _drawn(self, content: list[dict[str, Any]], sample: Sample, times: int) -> list[str]:
        try:
            said = self._said(content, sample, n=times)[:times]
        except EndpointError as e:
            if not 400 <= (e.status or 0) < 500:
                raise
            # A server that does not know `n` may say so by refusing.
            said = []
        while len(said) < times:
            said.append(self._said(content, sample, place=len(said))[0])
        return said

    def _said(
        self, content: list[dict[str, Any]], sample: Sample, *, n: int | None = None, place: int = 0
    ) -> list[str]:
        settings = {k: self.settings[k] for k in ("temperature", "max_tokens")}
        if self.settings["temperature"]:
            settings["seed"] = seed_of(self.settings["seed"], sample.id, place)
        if n is not None:
            settings["n"] = n
        answer = self._endpoint.chat([{"role": "user", "content": content}], **settings)
        return [str(choice["message"]["content"] or "") for choice in answer["choices"]]


def seed_of(seed: int, sample: str, place: int) -> int:
    """The seed of one drawn answer, 31 bits: the same wherever and in whatever order it is asked."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample}/{place}".encode()).digest()[:4], "big") >> 1


def _picture(path: Path) -> dict[str, Any]:
    kind = mimetypes.guess_type(path.name)[0] or "image/jpeg"
    data = path.read_bytes()
    if path.suffix.lower() == ".dcm":
        # Servers read no DICOM; PNG keeps the pixels as they are.
        file = io.BytesIO()
        mimic.read_image(path).save(file, "PNG")
        kind, data = "image/png", file.getvalue()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def make(
    base_url: str,
    model: str,
    provider: str = "",
    date: str = "",
    wording: str = "",
    **options: Any,
) -> OpenAI:
    """A model behind an endpoint.

    Args:
        base_url: such as `http://127.0.0.1:8000/v1`.
        model: its name there.
        provider: for an address outside this machine, who serves it.
        date: and since when its retention term holds.
        wording: and what that term says.
        **options: `max_tokens` (512), longest answer; `samples` (0), answers at random to a closed question;
            `temperature` (0, with samples 1); `seed` (0) of the draws; `images` (true), false runs the text-only
            control; also as text.

    Raises:
        UsageError: an option that does not exist, or a value that is not allowed.
        RestrictedDataError: see `Endpoint`.
    """
    known = {"max_tokens": 512, "samples": 0, "temperature": None, "seed": 0, "images": True}
    strange = sorted(set(options) - set(known))
    if strange:
        allowed = ", ".join(["base_url", "model", "provider", "date", "wording", *known])
        raise UsageError(f"model {NAME} has no argument {strange[0]!r}; its arguments: {allowed}")
    given = known | options
    settings: dict[str, Any] = {k: _number(k, given[k]) for k in ("max_tokens", "samples", "seed")}
    if settings["max_tokens"] < 1:
        raise UsageError(f"max_tokens={settings['max_tokens']}; allowed: whole numbers from 1")
    heat = given["temperature"]
    settings["temperature"] = float(settings["samples"] > 0) if heat is None else _number("temperature", heat, float)
    if settings["samples"] and not settings["temperature"]:
        raise UsageError(f"samples={settings['samples']} at temperature 0 are all the same")
    settings["images"] = str(given["images"]).lower() != "false"
    retention = Retention(provider, date, wording) if provider or date or wording else None
    return OpenAI(Endpoint(base_url, model, retention), settings)


def _number(name: str, value: Any, kind: Any = int) -> Any:
    try:
        number = kind(value)
    except (ValueError, TypeError):
        number = -1
    if not 0 <= number < float("inf"):
        raise UsageError(f"{name}={value!r}; allowed: {'whole ' if kind is int else ''}numbers from 0")
    return number
