"""Loading a model for evaluation: a folder or hub name of transformers, or a checkpoint folder of our training."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxr_max.align import students
from cxr_max.align.reference import fingerprint
from cxr_max.align.render import Renderer
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.folders import TRAINING
from cxr_max.optional import require

DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Loaded:
    """A model that can be asked.

    Attributes:
        model: transformers or PEFT model, on its device.
        renderer: its tokenizer and image processor.
        training: what its `training.json` says; empty when there is none.
        training_ids: instances of this and all earlier stages of its training; None = not known.
    """

    model: Any
    renderer: Renderer
    training: Mapping[str, Any]
    training_ids: tuple[str, ...] | None = None

    def revision(self) -> str:
        """Identifies weights, tokenizer, chat template and image processor: 12 hex digits."""
        digest = hashlib.sha256(fingerprint(self.model).encode())
        for part in (self.renderer.tokenizer, self.renderer.image_processor, self.renderer.processor):
            digest.update(_described(part).encode())
        return digest.hexdigest()[:12]


def load(name: str, *, adapter: str = "", device: str = "auto", dtype: str = "auto", **limits: int) -> Loaded:
    """Load a model and what it needs to read questions.

    Args:
        name: folder or hub name; empty takes the base model that the adapter names.
        adapter: folder of a PEFT adapter to put on it.
        device: `auto` takes this process's accelerator, else the CPU.
        dtype: `auto` is bfloat16 where the device computes in it, else float32.
        **limits: `min_pixels` and `max_pixels` of the image processor.

    Raises:
        UsageError: neither model nor adapter, an unknown dtype, or a model that transformers does not know.
        MissingFileError: no such folder, no such name in the cache or on the hub.
        DataError: tokenizer and model disagree on special tokens.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}; allowed: {', '.join(DTYPES)}")
    where = _device(device)
    ours = adapter if adapter and not name else name if not adapter else ""
    if ours and (Path(ours).expanduser() / TRAINING).is_file():
        return _student(Path(ours).expanduser(), where, dtype, limits)
    base = name or _base_of(adapter)
    model, renderer = _plain(base, _dtype(dtype, where), limits)
    renderer.check(model.config)
    if adapter:
        model = _adapted(model, adapter)
    found = Path(adapter or base).expanduser()
    return Loaded(model.to(where).eval(), renderer, _training(found), _ids(found))


def _student(folder: Path, device: torch.device, dtype: str, limits: Mapping[str, int]) -> Loaded:
    """A checkpoint of our training; its base, template and image size are the ones it was trained with."""
    if limits:
        raise UsageError(f"{', '.join(limits)} of a trained student are those of its training", next="leave them out")
    kind = _dtype(dtype, device) if dtype != "auto" or device.type == "cuda" else None
    student = students.load_student(folder, device=device, dtype=kind)
    return Loaded(student.model, student.renderer, student.training, _ids(folder))


def _base_of(adapter: str) -> str:
    if not adapter:
        raise UsageError("no model is named", next="--model-args model=FOLDER, or --adapter DIR")
    path = Path(adapter).expanduser() / "adapter_config.json"
    if not path.is_file():
        raise MissingFileError(f"{adapter} holds no adapter_config.json", next="--adapter with a PEFT adapter's folder")
    base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise UsageError("the adapter does not name its base model", next="--model-args model=FOLDER")
    return str(base)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        state = require("accelerate", extra="train").PartialState()
        return torch.device(state.device)
    return torch.device("cpu")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _plain(name: str, dtype: torch.dtype, limits: Mapping[str, int]) -> tuple[Any, Renderer]:
    folder = Path(name).expanduser()
    where = str(folder) if folder.is_dir() else name
    try:
        return students.load_any(where, dtype=dtype, **limits)
    except (OSError, ValueError) as e:
        if folder.is_dir():
            raise DataError(f"{name} is no model that transformers can load: {type(e).__name__}") from e
        raise MissingFileError(
            f"no folder {name}, and no such model in the cache or on the hub", next="--model-args model=FOLDER"
        ) from e


def _adapted(model: Any, adapter: str) -> Any:
    folder = Path(adapter).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise MissingFileError(f"{adapter} holds no adapter_config.json", next="--adapter with a PEFT adapter's folder")
    return require("peft", extra="train").PeftModel.from_pretrained(model, str(folder))


def _training(folder: Path) -> dict[str, Any]:
    """What a folder says it was trained on; nothing where it does not."""
    return students.read_training(folder) if (folder / TRAINING).is_file() else {}


def _ids(folder: Path) -> tuple[str, ...] | None:
    """Instances a checkpoint and the stages below it were trained on; None when one of them does not say."""
    found: set[str] = set()
    seen: set[Path] = set()
    while (training := _training(folder)) or not seen:
        if not isinstance(training.get("training_ids"), list) or folder.resolve() in seen:
            return None
        seen.add(folder.resolve())
        found |= set(map(str, training["training_ids"]))
        base = training.get("base") or {}
        if not base.get("local"):
            break
        folder = folder / str(base.get("path"))
        if not folder.is_dir():
            return None
    return tuple(sorted(found))


def _described(part: Any) -> str:
    """Settings of a tokenizer or processor, as text that is the same in every process."""
    if part is None:
        return "none"
    if hasattr(part, "backend_tokenizer"):
        template = json.dumps(part.chat_template, sort_keys=True)
        return f"{part.backend_tokenizer.to_str()}{template}{part.eos_token}{part.pad_token}"
    return json.dumps(part.to_dict(), sort_keys=True, default=str)
