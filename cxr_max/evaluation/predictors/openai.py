"""A model behind an OpenAI-compatible endpoint such as vLLM: local, or remote under a declared retention term."""

import base64
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cxr_max.endpoint import Endpoint, EndpointError, Retention
from cxr_max.evaluation.types import Failure, Output, Sample

NAME = "openai"


class OpenAI:
    """Asks with greedy decoding, several requests at a time; answers come back in order."""

    def __init__(self, endpoint: Endpoint, *, max_tokens: int, workers: int, images: bool) -> None:
        self.name = f"{NAME}:{endpoint.model}"
        self.revision = endpoint.model
        declared = vars(endpoint.retention) if endpoint.retention else None
        self.settings: Mapping[str, Any] = {
            "temperature": 0, "max_tokens": max_tokens, "images": images, "retention": declared,
        }  # fmt: skip
        self._endpoint, self._workers = endpoint, workers

    def predict(self, samples: Sequence[Sample]) -> Iterator[Output | Failure]:
        """One answer a sample; what fails after all tries is a failure with its reason."""
        with ThreadPoolExecutor(self._workers) as pool:
            yield from pool.map(self._ask, samples)

    def _ask(self, sample: Sample) -> Output | Failure:
        content: list[dict[str, Any]] = []
        if self.settings["images"]:
            for path in sample.images:
                kind = mimetypes.guess_type(path.name)[0] or "image/jpeg"
                data = base64.b64encode(path.read_bytes()).decode()
                content.append({"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}})
        content.append({"type": "text", "text": sample.prompt})
        settings = {k: self.settings[k] for k in ("temperature", "max_tokens")}
        try:
            answer = self._endpoint.chat([{"role": "user", "content": content}], **settings)
            return Output(str(answer["choices"][0]["message"]["content"] or ""))
        except EndpointError as e:
            return Failure(e.problem)
        except (KeyError, IndexError, TypeError):
            return Failure("the endpoint's answer has no message")


def make(
    base_url: str,
    model: str,
    provider: str = "",
    date: str = "",
    wording: str = "",
    max_tokens: int | str = 512,
    images: str = "true",
) -> OpenAI:
    """A model behind an endpoint.

    Args:
        base_url: such as `http://127.0.0.1:8000/v1`.
        model: its name there.
        provider: for an address outside this machine, who serves it.
        date: and since when its retention term holds.
        wording: and what that term says.
        max_tokens: longest answer.
        images: "false" runs the text-only control.
    """
    retention = Retention(provider, date, wording) if provider or date or wording else None
    endpoint = Endpoint(base_url, model, retention)
    return OpenAI(endpoint, max_tokens=int(max_tokens), workers=8, images=str(images).lower() != "false")
