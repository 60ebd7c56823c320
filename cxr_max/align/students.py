"""Students: making the one a stage trains, saving it, and loading it again from a checkpoint folder.

An adapter of a later stage sits on the merged model of the earlier one, which is also its reference. So a folder with
an adapter names its base, and loading walks back along these names: base, first adapter merged, second adapter on top.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.utils import logging

from cxr_max.align import render
from cxr_max.align.config import Lora, ModelSpec, TrainConfig
from cxr_max.align.render import Renderer
from cxr_max.errors import DataError, MissingFileError, UsageError
from cxr_max.folders import TRAINING
from cxr_max.optional import require

ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Student:
    """A trained model and how it is asked.

    Attributes:
        model: in evaluation mode; a PEFT model when the folder holds an adapter.
        renderer: with the template, tokenizer and image processor it was trained with.
        training: what `training.json` says.
        folder: where it was read.
    """

    model: Any
    renderer: Renderer
    training: Mapping[str, Any]
    folder: Path


def load_student(
    folder: str | os.PathLike[str], *, device: str | torch.device = "cpu", dtype: str | torch.dtype | None = None
) -> Student:
    """Load a checkpoint folder of ours: `OUT/<stage>/final`, or a checkpoint on the way there.

    Args:
        folder: with `training.json`.
        device: to put the model on.
        dtype: of the weights, as `torch.bfloat16` or its name; None takes what the stage trained in.

    Raises:
        MissingFileError: no such folder, or the base of its adapter is gone.
        DataError: the base is not the one the adapter was trained on.
    """
    place = Path(folder)
    training = read_training(place)
    spec = training["model"]
    model = load_model(place, dtype=_dtype(dtype or spec["dtype"])).to(device).eval()
    renderer = render.from_pretrained(
        place, training["template"], answer_loss=training["answer_loss"], max_completion=training["max_completion"]
    )
    return Student(model, renderer, training, place)


def read_training(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint folder.

    Raises:
        MissingFileError: there is none.
        DataError: it is damaged.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise MissingFileError(
            f"no {TRAINING} in {folder}", next="give a folder that cxr-max train wrote, such as final"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged")
    return found


def load_model(source: str | Path, *, dtype: torch.dtype, revision: str | None = None, merge: bool = False) -> Any:
    """A model from a folder of ours, any folder or a hub name, with the bases of its adapters.

    Args:
        source: folder or hub name.
        dtype: of the weights.
        revision: of a hub name.
        merge: give plain weights where there is an adapter.

    Raises:
        MissingFileError: a base is gone.
        DataError: a base is another model than it was.
    """
    folder = Path(source)
    if not (folder / ADAPTER).is_file():
        return _plain(source, dtype, revision)
    base = read_training(folder)["base"]
    name = os.path.normpath(folder / base["path"]) if base["local"] else base["path"]
    if base["local"] and not Path(name).is_dir():
        raise MissingFileError(f"the adapter in {folder} sits on {base['path']}, which is not there beside it")
    model = load_model(name, dtype=dtype, revision=base["revision"], merge=True)
    if base["local"] and base["weights"] != weights_hash(Path(name)):
        raise DataError(f"the base of the adapter in {folder} was changed after the adapter was trained")
    peft = require("peft", extra="train")
    with_adapter = peft.PeftModel.from_pretrained(model, str(folder))
    return with_adapter.merge_and_unload() if merge else with_adapter


def _plain(source: str | Path, dtype: torch.dtype, revision: str | None) -> Any:
    settings: dict[str, Any] = {"dtype": dtype} | ({"revision": revision} if revision else {})
    with quiet():
        try:
            return AutoModelForImageTextToText.from_pretrained(source, **settings)
        except ValueError:
            return AutoModelForCausalLM.from_pretrained(source, **settings)
        except OSError as error:
            raise MissingFileError(f"no model at {source}") from error


def load_any(source: str | Path, *, dtype: torch.dtype, **limits: int) -> tuple[Any, Renderer]:
    """A model of transformers that need not be ours, and a renderer (template `rationale`) of the kind it reads.

    Text alone; an image processor that tells how many patches make a token; or, for models whose placeholders follow
    other rules, a whole processor.

    Args:
        source: folder or hub name.
        dtype: of the weights.
        **limits: `min_pixels` and `max_pixels` of the image processor.

    Raises:
        OSError: no such folder or name, or a file of it is missing.
        ValueError: transformers does not know the model.
    """
    config = AutoConfig.from_pretrained(source)
    with quiet():
        if type(config) not in AutoModelForImageTextToText._model_mapping:
            text = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
            return text, Renderer(AutoTokenizer.from_pretrained(source), "rationale")
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
    image_processors: Any = AutoImageProcessor
    if hasattr(image_processors.from_pretrained(source, backend="pil"), "merge_size"):
        return model, render.from_pretrained(source, "rationale", **limits)
    processors: Any = AutoProcessor
    processor = processors.from_pretrained(source)
    return model, Renderer(processor.tokenizer, "rationale", processor=processor)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars, which would fill the terminal at every checkpoint."""
    switch: Any = logging
    bars = switch.is_progress_bar_enabled()
    switch.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            switch.enable_progress_bar()


def weights_hash(folder: Path) -> str:
    """Hash of a folder's weight files: what an adapter that sits on them records."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def base_record(source: str | Path, out: Path, revision: str | None) -> dict[str, Any]:
    """How a stage's checkpoints name the model below their adapter; local ones relative to the checkpoint.

    Args:
        source: folder or hub name of the base.
        out: folder of the stage, the parent of its checkpoints.
        revision: of a hub name.
    """
    folder = Path(source)
    if not folder.is_dir():
        return {"path": str(source), "local": False, "revision": revision, "weights": ""}
    path = os.path.relpath(folder.resolve(), (out / "final").resolve())
    return {"path": path, "local": True, "revision": None, "weights": weights_hash(folder)}


def prepare(model: Any, spec: ModelSpec) -> Any:
    """Freeze, set dropout, add the adapter: the model as the optimizer sees it.

    Raises:
        UsageError: nothing is left to train.
    """
    decoder = model.get_decoder()
    if spec.attention_dropout:
        for module in decoder.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = spec.attention_dropout
    text = {id(p) for p in decoder.parameters()}
    text |= {id(p) for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m for p in m.parameters()}
    for p in model.parameters():
        p.requires_grad_(not (spec.freeze_text if id(p) in text else spec.freeze_vision))
    if spec.lora is not None:
        model = _with_lora(model, spec.lora)
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("every weight is frozen; nothing is left to train")
    return model


def _with_lora(model: Any, lora: Lora) -> Any:
    peft = require("peft", extra="train")
    targets: Any = list(lora.targets)
    if lora.targets == ("text",):
        decoder = model.get_decoder()
        inside = {id(m) for m in decoder.modules() if isinstance(m, torch.nn.Linear)}
        targets = [name for name, m in model.named_modules() if id(m) in inside]
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, settings)


def renderer_of(source: str | Path, config: TrainConfig, *, answer_loss: str, segment: Any = None) -> Renderer:
    """The renderer for a stage: tokenizer and image processor of the model it starts from."""
    spec = config.model
    limits = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels}
    return render.from_pretrained(
        source,
        config.template,
        answer_loss=answer_loss,
        max_completion=config.max_completion,
        segment=segment,
        **{k: v for k, v in limits.items() if v is not None},
    )


def save_weights(model: Any, renderer: Renderer, folder: Path, state: Mapping[str, Any] | None = None) -> None:
    """Write the model, or its adapter alone, with tokenizer and image processor, as transformers and PEFT read them."""
    with quiet():
        model.save_pretrained(folder, **({"state_dict": state} if state is not None else {}))
    renderer.tokenizer.save_pretrained(folder)
    if renderer.image_processor is not None:
        renderer.image_processor.save_pretrained(folder)
    # PEFT leaves a card of its own that names the base by its path on this machine.
    (folder / "README.md").unlink(missing_ok=True)


def load_weights(model: Any, folder: Path) -> None:
    """Put the weights of a checkpoint into a model of the same make, exactly.

    Raises:
        DataError: the checkpoint is of another make.
    """
    if (folder / ADAPTER).is_file():
        peft = require("peft", extra="train")
        state = peft.load_peft_weights(str(folder))
        result = peft.set_peft_model_state_dict(model, state)
        if result.unexpected_keys:
            raise DataError("the checkpoint holds another adapter than this stage trains")
        return
    kept = _plain(folder, next(model.parameters()).dtype, None)
    try:
        model.load_state_dict(kept.state_dict())
    except RuntimeError as error:
        raise DataError("the checkpoint holds another model than this stage trains") from error


def _dtype(name: str | torch.dtype) -> torch.dtype:
    if isinstance(name, torch.dtype):
        return name
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise UsageError(f"dtype {name!r}; allowed: the name of a torch dtype, such as bfloat16")
    return found
