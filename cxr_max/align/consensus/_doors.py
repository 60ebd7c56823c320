"""How a model is asked: through transformers from a local folder, or through an OpenAI-compatible endpoint."""

import base64
import hashlib
import mimetypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from cxr_max.align.consensus._panels import Panel, Work
from cxr_max.align.generation import Decoding, generate
from cxr_max.align.render import Renderer
from cxr_max.align.students import load_any, load_student
from cxr_max.align.types import PreferenceGroup
from cxr_max.endpoint import Endpoint, EndpointError
from cxr_max.errors import DataError, UsageError
from cxr_max.folders import TRAINING

GIVE_UP = 8
"""Requests in a row that fail before the endpoint counts as gone."""
_WEIGHTS = ("*.safetensors", "*.bin", "config.json", "adapter_config.json")


class Question(NamedTuple):
    """One question: its panel, the text, and the seed of its answer."""

    panel: Panel
    text: str
    seed: int


class Reply(NamedTuple):
    """What the model wrote, and whether it was cut off."""

    text: str
    cut: bool


class Failed(NamedTuple):
    """Why there is no reply; without any restricted content."""

    reason: str


class Door(Protocol):
    """Something that answers questions.

    Attributes:
        batches: batches handed over at a time.
        whole_batches: an answer may depend on its neighbours in the batch.
    """

    batches: int
    whole_batches: bool

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Reply | Failed]]:
        """One reply a question with its index, as they come."""


def identity(work: Work) -> dict[str, Any]:
    """What names the model in a recipe: no path and no address.

    Raises:
        UsageError: no model, no such folder, or an address without the model's name.
        RestrictedDataError: an address outside this machine without a declaration.
    """
    if not work.model:
        raise UsageError(
            "this strategy needs a model", next="--model FOLDER, or --model http://127.0.0.1:8000/v1#SERVED_NAME"
        )
    if "://" in work.model:
        declared = vars(work.retention) if work.retention else None
        return {"kind": "endpoint", "name": _endpoint(work).model, "retention": declared}
    folder = Path(work.model).expanduser()
    if not any((folder / n).is_file() for n in ("config.json", "adapter_config.json")):
        raise UsageError(
            f"{work.model} is no folder of a model (it has no config.json) and no address",
            next="--model FOLDER, or --model http://127.0.0.1:8000/v1#SERVED_NAME",
        )
    return {"kind": "transformers", "name": folder.resolve().name, "sha256": _digest(folder.resolve())}


def _endpoint(work: Work) -> Endpoint:
    address, _, name = str(work.model).partition("#")
    if not name:
        raise UsageError("the endpoint's name for the model is missing", next=f"--model {address}#SERVED_NAME")
    return Endpoint(address, name, work.retention)


@lru_cache(maxsize=4)
def _digest(folder: Path) -> str:
    """Hash of weights and configuration."""
    whole = hashlib.sha256()
    for path in sorted({p for pattern in _WEIGHTS for p in folder.glob(pattern)}):
        with path.open("rb") as file:
            whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


@contextmanager
def opened(batch: int, decoding: Decoding, work: Work) -> Iterator[Door]:
    """The door to the model of a work, closed afterwards."""
    if "://" in str(work.model):
        with ThreadPoolExecutor(batch) as pool:
            yield _Endpoint(_endpoint(work), decoding, pool)
    else:
        yield _Local(Path(str(work.model)).expanduser(), decoding)


class _Local:
    batches, whole_batches = 1, True

    def __init__(self, folder: Path, decoding: Decoding) -> None:
        self._folder, self._decoding = folder, decoding
        self._loaded: Any = None

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Reply | Failed]]:
        # Loaded when first needed: a run that finds everything in its journal needs no model.
        self._loaded = self._loaded or _load(self._folder)
        model, renderer, thinks = self._loaded
        groups = [_group(q) for q in questions]
        for i, answer in enumerate(generate(model, renderer, groups, self._decoding, [q.seed for q in questions])):
            if isinstance(answer, DataError):
                yield i, Failed(answer.problem)
            else:
                yield i, Reply(_unwrapped(answer.text) if thinks else answer.text, answer.cut)


def _load(folder: Path) -> tuple[Any, Renderer, bool]:
    """A model, its renderer, and whether it writes trajectories between think marks; on the GPU when there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    if (folder / TRAINING).is_file():
        student = load_student(folder, device=device, dtype=dtype)
        # The question is ours, whatever the student was asked when it learned.
        renderer = replace(student.renderer, template="rationale")
        return student.model, renderer, student.renderer.template == "diagnose"
    try:
        model, renderer = load_any(folder, dtype=dtype)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder.name} is no model that transformers can load: {type(error).__name__}") from error
    renderer.check(model.config)
    return model.to(device).eval(), renderer, False


def _unwrapped(text: str) -> str:
    """What stands between the think marks of template `diagnose`."""
    inside = text.partition("<think>")[2] or text
    return inside.partition("</think>")[0]


def _group(asked: Question) -> PreferenceGroup:
    image = asked.panel.images[0] if asked.panel.images else None
    panel = asked.panel
    return PreferenceGroup(panel.instance_id, panel.diseases, ("-",), ("question",), prompt=asked.text, image=image)


class _Endpoint:
    batches, whole_batches = 4, False

    def __init__(self, endpoint: Endpoint, decoding: Decoding, pool: ThreadPoolExecutor) -> None:
        self._endpoint, self._decoding, self._pool = endpoint, decoding, pool
        self._failures = 0

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, Reply | Failed]]:
        running = {self._pool.submit(self._ask, q): i for i, q in enumerate(questions)}
        for done in as_completed(running):
            reply = done.result()
            self._failures = self._failures + 1 if isinstance(reply, Failed) else 0
            if self._failures >= GIVE_UP and isinstance(reply, Failed):
                for waiting in running:
                    waiting.cancel()
                raise EndpointError(
                    f"{self._failures} requests in a row failed, the last one so: {reply.reason}",
                    next="look at the endpoint; the same command again goes on where this one stopped",
                )
            yield running[done], reply

    def _ask(self, asked: Question) -> Reply | Failed:
        decoding = self._decoding
        settings: dict[str, Any] = {"max_tokens": decoding.max_tokens, "temperature": decoding.temperature}
        if decoding.temperature:
            settings |= {"top_p": decoding.top_p, "seed": asked.seed % 2**31}
        try:
            content = [*map(_shown, asked.panel.images), {"type": "text", "text": asked.text}]
        except OSError as e:
            return Failed(f"the image cannot be read: {type(e).__name__}")
        try:
            answer = self._endpoint.chat([{"role": "user", "content": content}], **settings)
            choice = answer["choices"][0]
            return Reply(str(choice["message"]["content"] or ""), choice.get("finish_reason") == "length")
        except EndpointError as e:
            return Failed(e.problem)
        except (KeyError, IndexError, TypeError, AttributeError):
            return Failed("the endpoint's answer has no message")


def _shown(path: str) -> dict[str, Any]:
    kind = mimetypes.guess_type(path)[0] or "image/jpeg"
    data = base64.b64encode(Path(path).read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
