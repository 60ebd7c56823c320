"""APO (autonomous) from the first to the last line: no Trainer, no callbacks, nothing hidden. Read it from the top.

    python -m cxr_max.recipes.apo_loop RELEASE STUDENT IMAGES_ROOT OUT

RELEASE is a release with preferences; STUDENT the supervised student (`OUT/sft/final` of `cxr-max train`);
IMAGES_ROOT your MIMIC-CXR copy; OUT a new folder. The same loss, data and order as `cxr-max train` with these settings,
and the same numbers (tested). What that has and this has not: resuming, several processes, plans, cards, metrics.
"""

import copy
import logging
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from cxr_max import folders, mimic, open_release
from cxr_max.align import load_student, pack, packed_logps, students
from cxr_max.align.methods import apo
from cxr_max.align.negatives import Choice, Tables, preference_groups
from cxr_max.align.reference import with_reference
from cxr_max.align.selection import evaluation_subjects_of, select_instances
from cxr_max.align.types import PreferenceGroup, RenderedGroup
from cxr_max.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """All there is to set."""

    positive: str = "vote"
    beta: float = 0.1
    learning_rate: float = 2e-5
    min_learning_rate: float = 1e-7
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    groups_per_step: int = 2
    max_steps: int | None = None
    seed: int = 0


def groups_of(release_folder: Path, images_root: Path, positive: str) -> list[PreferenceGroup]:
    """One group per image: the positive first, then every teacher's trajectory as a negative.

    Only the official train split, and no patient whom an evaluation set under the root holds.
    """
    release = open_release(release_folder)
    joined = mimic.join(release, images_root)
    allowed = select_instances(release.scan("instances"), evaluation_subjects_of(joined.scan("overlap")))
    if "preferences" not in release.tables:
        raise UsageError("the release has no preferences", next="cxr-max consensus RELEASE --strategy vote ...")
    preferences = release.scan("preferences").filter(strategy=positive).collect()
    images = joined.matched.instances.select("instance_id", pl.col("images").list.first()).drop_nulls()
    tables = Tables(
        preferences=preferences, instances=release.scan("instances").collect(), images=dict(images.iter_rows())
    )
    return list(preference_groups(tables, allowed.instance_ids, Choice()).groups)


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Cosine from the largest to the smallest rate."""
    floor = settings.min_learning_rate / settings.learning_rate
    wave = 0.5 * (1 + math.cos(math.pi * step / steps))
    return settings.learning_rate * (wave * (1 - floor) + floor)


def train(student_folder: Path, groups: list[PreferenceGroup], out: Path, settings: Settings) -> Iterator[float]:
    """The loop; yields the loss of every step, and writes the student at the end."""
    student = load_student(student_folder)
    model, renderer = student.model, student.renderer

    # The reference is the student as it is now. It never changes.
    reference = copy.deepcopy(model).eval().requires_grad_(False)

    # The vision tower stays as it is; the text model learns. Vectors (norms and biases) do not decay.
    text = {id(p) for p in model.get_decoder().parameters()} | {id(p) for p in model.lm_head.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in text)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
    )

    size = settings.groups_per_step
    hyper = apo.Hyper(beta=settings.beta)
    per_epoch = math.ceil(len(groups) / size)
    steps = settings.max_steps or per_epoch
    model.train()
    for step in range(steps):
        # Every epoch has an order of its own.
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(settings.seed + epoch)).tolist()
        rendered = [renderer.render(groups[i]) for i in order[place * size : (place + 1) * size]]

        # Gradients of one group at a time; the loss of the step is the mean over its groups.
        total = 0.0
        for group in rendered:
            loss = apo_loss(model, reference, group, hyper) / len(rendered)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())

        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        for part in optimizer.param_groups:
            part["lr"] = learning_rate(step, steps, settings)
        optimizer.step()
        optimizer.zero_grad()
        yield total

    folders.output_dir(out, synthetic=bool(student.training["synthetic"]))
    students.save_weights(model, renderer, out)


def apo_loss(
    model: torch.nn.Module, reference: torch.nn.Module, group: RenderedGroup, hyper: apo.Hyper
) -> torch.Tensor:
    """The loss of one group: image and prompt go through the model once, all completions as branches behind them.

    With r = beta * log(pi_theta / pi_ref), L = -log( exp r(t+) / (exp r(t+) + sum_u w_u exp r(t^u)) ).
    """
    batch = pack.pack([group])
    policy = packed_logps(model, batch)
    with torch.no_grad():
        before = packed_logps(reference, batch)
    return apo.loss(with_reference(policy, before), hyper).loss


def main() -> None:
    """Four folders from the command line; a line of the log per step."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    release, student, images_root, out = (Path(a) for a in sys.argv[1:5])
    settings = Settings()
    groups = groups_of(release, images_root, settings.positive)
    for step, loss in enumerate(train(student, groups, out, settings), 1):
        log.info("step %d of %d groups: loss %.4f", step, len(groups), loss)


if __name__ == "__main__":
    main()
