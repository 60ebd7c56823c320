"""Teaching a vision tower to see, by the cheapest signal there is: a linear head that names what is on each side.

Stands where a pretrained model has its pretraining. The tower is the one of transformers, alone; the head is thrown
away. A killed run goes on after its last whole epoch and ends with the same weights.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr_max.progress import track

RATE = 1e-3
BATCH = 64
WARM_UP = 0.1
LEAST = 10
"""Positives a finding needs for its area under the curve to be averaged."""


class Films:
    """Images as the model's processor makes them, kept in memory in half precision.

    Args:
        processor: the model's image processor.
        paths: of the images.
        truth_NK: what is on them, 0 or 1.
    """

    def __init__(self, processor: Any, paths: Sequence[str], truth_NK: np.ndarray) -> None:
        self.pixels, self.grids = [], []
        for path in track(paths, "films"):
            with Image.open(path) as image:
                made = processor(images=[image.convert("RGB")], return_tensors="pt")
            self.pixels.append(made["pixel_values"].half())
            self.grids.append(made["image_grid_thw"])
        self.truth_NK = torch.from_numpy(truth_NK.astype(np.float32))

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pixels, grids and truth of some rows."""
        pixels = torch.cat([self.pixels[r] for r in rows]).float()
        return pixels, torch.cat([self.grids[r] for r in rows]), self.truth_NK[torch.from_numpy(rows)]


def logits(tower: Any, head: torch.nn.Linear, pixels: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    """What the head says of each image, [images, K]: a smooth maximum over its places.

    A finding is somewhere, and the mean over places dilutes a small one (area under the curve on validate after two
    passes: .90 with the maximum, .86 with the mean).
    """
    features = tower(pixels, grid_thw=grids).pooler_output
    sizes = (grids.prod(dim=1) // tower.spatial_merge_size**2).tolist()
    return torch.stack([torch.logsumexp(head(f), 0) - math.log(len(f)) for f in torch.split(features, sizes)])


def teach(tower: Any, films: Films, kept: Path, *, epochs: int, seed: int) -> torch.nn.Linear:
    """Train the tower in place; returns the head.

    Args:
        tower: a vision tower whose output is `out_hidden_size` wide.
        films: to learn from.
        kept: file of the state after the last whole epoch.
        epochs: passes over the films.
        seed: of head and order.
    """
    torch.manual_seed(seed)
    head = torch.nn.Linear(tower.config.out_hidden_size, films.truth_NK.shape[1])
    weights = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    steps = max(1, len(films) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps + 1, pct_start=WARM_UP)
    parts, first = {"tower": tower, "head": head, "optimizer": optimizer, "schedule": schedule}, 0
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        first = state.pop("epoch")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    for epoch in range(first, epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(films))
        for rows in track(np.array_split(order, steps), f"sight, pass {epoch + 1} of {epochs}"):
            pixels, grids, truth_BK = films.batch(rows)
            loss = binary_cross_entropy_with_logits(logits(tower, head, pixels, grids), truth_BK)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
        torch.save({name: part.state_dict() for name, part in parts.items()} | {"epoch": epoch + 1}, f"{kept}.part")
        os.replace(f"{kept}.part", kept)
    return head


@torch.no_grad()
def area(tower: Any, head: torch.nn.Linear, films: Films) -> float:
    """Mean area under the ROC curve over findings with at least `LEAST` positives and negatives."""
    said, true = [], films.truth_NK.numpy()
    for rows in np.array_split(np.arange(len(films)), max(1, len(films) // BATCH)):
        pixels, grids, _ = films.batch(rows)
        said.append(logits(tower, head, pixels, grids))
    scores = torch.cat(said).numpy()
    enough = [k for k in range(true.shape[1]) if min(true[:, k].sum(), (1 - true[:, k]).sum()) >= LEAST]
    return float(np.mean([roc_auc_score(true[:, k], scores[:, k]) for k in enough])) if enough else float("nan")
