"""Image features: once per image and step where the vision tower is frozen, and optionally kept on disk."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cxr_max import folders
from cxr_max.align.types import RenderedGroup
from cxr_max.errors import DataError, UsageError


class FeatureStore:
    """Features of images by key, in memory and, when a folder is given, on disk.

    Features are of class derived: those of real data go to a restricted folder. Keys are hashes of pixels and
    processor settings; `model` tells vision towers apart, since their features share no entry.

    Args:
        model: identifies vision tower and dtype: `reference.fingerprint` of it.
        folder: where to keep them; None keeps them in memory alone.
        synthetic: the data are synthetic, so the folder need not be restricted.
        in_memory: images kept in memory, the oldest going first.

    Raises:
        RestrictedDataError: the folder lies in a git work tree and the data are real.
    """

    def __init__(self, model: str, folder: Path | None = None, *, synthetic: bool = False, in_memory: int = 64) -> None:
        self._prefix = hashlib.sha256(model.encode()).hexdigest()[:16]
        self._folder = folder
        self._limit = in_memory
        self._memory: dict[str, Tensor] = {}
        if folder is not None:
            folders.output_dir(folder, synthetic=synthetic)

    def get(self, image_key: str) -> Tensor | None:
        """The features kept for an image, or None.

        Raises:
            DataError: the file is damaged.
        """
        if image_key in self._memory:
            return self._memory[image_key]
        path = self._path(image_key)
        if path is None or not path.is_file():
            return None
        try:
            kept = load_file(path)["features"]
        except (SafetensorError, KeyError) as error:
            raise DataError("a file of kept image features is damaged", next="delete the folder") from error
        return self._remember(image_key, kept)

    def put(self, image_key: str, features: Tensor) -> None:
        """Keep the features of an image."""
        path = self._path(image_key)
        self._remember(image_key, features)
        if path is not None and not path.is_file():
            folders.write_atomic(path, save({"features": features.detach().cpu().contiguous()}), mode=0o600)

    def _path(self, image_key: str) -> Path | None:
        return self._folder / f"{self._prefix}-{image_key}.safetensors" if self._folder else None

    def _remember(self, image_key: str, features: Tensor) -> Tensor:
        self._memory[image_key] = features.detach()
        while len(self._memory) > self._limit:
            del self._memory[next(iter(self._memory))]
        return features


def is_frozen(model: Any) -> bool:
    """Whether nothing outside the text model and its embeddings takes a gradient."""
    text = {
        id(p)
        for m in (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
        if m
        for p in m.parameters()
    }
    return not any(p.requires_grad for p in model.parameters() if id(p) not in text)


def image_features(model: Any, groups: Sequence[RenderedGroup], store: FeatureStore | None = None) -> list[Tensor]:
    """Features of each group's image, [image tokens, D], one entry per group that has an image, in order.

    An image that several groups share is encoded once. A frozen tower runs without a graph and may be answered
    from the store; one that trains runs in the graph and never touches the store.

    Args:
        model: a transformers model with `get_image_features`, not wrapped.
        groups: rendered groups.
        store: where to look first.
    """
    with_image = [g for g in groups if g.image_key]
    frozen = is_frozen(model)
    found: dict[str, Tensor] = {}
    missing: dict[str, Mapping[str, Tensor]] = {}
    for g in with_image:
        kept = store.get(g.image_key) if store is not None and frozen else None
        if kept is not None:
            found[g.image_key] = kept
        else:
            missing[g.image_key] = g.pixels
    if missing:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            for key, features in zip(missing, _encode(model, list(missing.values())), strict=True):
                found[key] = features
                if store is not None and frozen:
                    store.put(key, features)
    return [found[g.image_key] for g in with_image]


def _encode(model: Any, pixels: list[Mapping[str, Tensor]]) -> list[Tensor]:
    device = next(iter(model.parameters())).device
    joined = {name: torch.cat([p[name] for p in pixels]).to(device) for name in pixels[0]}
    output = model.get_image_features(**joined, return_dict=True)
    if getattr(output, "deepstack_features", None):
        raise UsageError(
            "the model feeds image features into several layers, which prefix sharing does not do",
            next="score with naive_logps",
        )
    features = getattr(output, "pooler_output", output)
    if len(features) != len(pixels):
        raise DataError(f"{len(pixels)} images gave {len(features)} sets of features")
    return list(features)


def scatter(embeddings_LSD: Tensor, input_ids_LS: Tensor, features: Sequence[Tensor], image_token: int) -> Tensor:
    """Put image features in the place of the image tokens, in order.

    Raises:
        DataError: there are more or fewer image tokens than features.
    """
    here_LS = input_ids_LS == image_token
    joined = torch.cat([f.to(embeddings_LSD.device, embeddings_LSD.dtype) for f in features])
    if int(here_LS.sum()) != len(joined):
        raise DataError(f"{int(here_LS.sum())} image tokens for {len(joined)} image features")
    return embeddings_LSD.masked_scatter(here_LS[..., None].to(embeddings_LSD.device), joined)
