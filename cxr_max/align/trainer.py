"""The loop: `transformers.Trainer` with our batches, our loss and checkpoints that survive a kill; nothing else.

Accumulation, mixed precision, accelerate, FSDP2, DeepSpeed and callbacks are the Trainer's. No method is named here: a
method is a module with a loss over groups.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer

from cxr_max.align import checkpoints, methods, students
from cxr_max.align.features import FeatureStore
from cxr_max.align.gather import with_zeros
from cxr_max.align.logprobs import packed_logps
from cxr_max.align.monitor import Monitor, means
from cxr_max.align.pack import PackedBatch, pack
from cxr_max.align.reference import ReferenceCache, reference_logps, with_reference
from cxr_max.align.render import Renderer
from cxr_max.align.types import GroupLogps, PreferenceGroup, RenderedGroup
from cxr_max.errors import CheckFailedError, DataError, DivergedError
from cxr_max.plugins import blamed


class Method(NamedTuple):
    """A method with its settings.

    Attributes:
        module: with `loss(group, hyper)`.
        hyper: its settings.
        needs: what it reads beside the policy's sums; see `align.methods`.
        supervised: whether no completion is the positive.
    """

    module: ModuleType
    hyper: Any
    needs: frozenset[str]
    supervised: bool


class Groups(Dataset[RenderedGroup | str]):
    """Groups, rendered when they are asked for; one that cannot be comes as the reason why, to be counted.

    Args:
        groups: as text.
        renderer: of the model.
        max_length: tokens of prompt, image and one completion; a longer completion is cut at its end.
    """

    def __init__(self, groups: Sequence[PreferenceGroup], renderer: Renderer, max_length: int) -> None:
        self._groups, self._renderer, self._max_length = groups, renderer, max_length

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> RenderedGroup | str:
        try:
            return fitted(self._renderer.render(self._groups[index]), self._max_length)
        except DataError as error:
            return error.problem


def fitted(group: RenderedGroup, max_length: int) -> RenderedGroup:
    """The group with completions cut to what prompt and image leave of the length.

    Raises:
        DataError: they leave nothing.
    """
    room = max_length - len(group.prefix_ids_P)
    if room < 1:
        raise DataError(
            f"prompt and image are {len(group.prefix_ids_P)} tokens, the maximal length is {max_length}",
            next="lower max_pixels, or raise max_length",
        )
    long = sum(len(ids) > room for ids in group.completion_ids)
    if not long:
        return group
    return replace(
        group,
        completion_ids=tuple(ids[:room] for ids in group.completion_ids),
        scored=tuple(on[:room] for on in group.scored),
        steps=None if group.steps is None else tuple(step[:room] for step in group.steps),
        n_truncated=group.n_truncated + long,
    )


class Collator:
    """Packs groups, and counts what the loss will be a mean over, before any model runs.

    Args:
        method: whose loss tells the count.
    """

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(self, items: Sequence[RenderedGroup | str]) -> dict[str, Any]:
        """A batch: `batch` is None and `denominator` 0 when nothing in it can be trained on."""
        kept = [g for g in items if isinstance(g, RenderedGroup)]
        denominator = denominator_of(self._method, kept) if kept else 0.0
        return {
            "batch": pack(kept) if denominator else None,
            "denominator": denominator,
            "skipped": len(items) - (len(kept) if denominator else 0),
            "truncated": sum(g.n_truncated for g in kept),
        }


def denominator_of(method: Method, groups: Sequence[RenderedGroup]) -> float:
    """How many units (groups, pairs, tokens) the loss of these groups is a mean over; 0 when it is undefined."""
    n_BK = [[int(on.sum()) for on in g.scored] for g in groups]
    most = max(map(len, n_BK))
    n_tokens_BK = torch.tensor([row + [0] * (most - len(row)) for row in n_BK])
    log_w_BK = None
    if any(g.weights is not None for g in groups):
        rows = [[0.0, *(g.weights or (1.0,) * (len(g.scored) - 1))] for g in groups]
        log_w_BK = torch.tensor([row + [1.0] * (most - len(row)) for row in rows]).log()
    try:
        return methods.units(method.module, with_zeros(n_tokens_BK > 0, n_tokens_BK, log_w_BK), method.hyper)
    except DataError:
        return 0.0


class GroupScorer(nn.Module):
    """The model as DDP and FSDP wrap it: its forward goes from packed groups to log-probabilities.

    Args:
        model: a transformers or PEFT model.
        reference: a frozen model, or None where disabling the adapter gives it. Not a part of this module: neither
            optimizer nor checkpoint may see it.
        cache: of reference log-probabilities.
        store: of features of a frozen vision tower.
    """

    def __init__(
        self, model: nn.Module, reference: Any = None, cache: ReferenceCache | None = None, store: Any = None
    ) -> None:
        super().__init__()
        self.model = model
        self._outside: tuple[Any, ReferenceCache | None, FeatureStore | None] = (reference, cache, store)
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return getattr(self.model, "config", None)

    def forward(self, batch: PackedBatch, statistics: bool = False, of_reference: bool = False) -> GroupLogps:
        """Log-probabilities of the policy, or of the reference."""
        store = self._outside[2]
        if not of_reference:
            return packed_logps(self.model, batch, store=store, statistics=statistics)
        reference, cache, _ = self._outside
        return reference_logps(
            self.model, batch, cache=cache, reference=reference, store=store if reference is None else None
        )

    def is_known(self, groups: Sequence[RenderedGroup]) -> bool:
        """Whether the cache holds the reference's numbers of all these groups."""
        cache = self._outside[1]
        return cache is not None and all(cache.get(g) is not None for g in groups)


class GroupTrainer(Trainer):
    """The Trainer with a loss over groups.

    Args:
        method: what to minimise.
        renderer: saved beside every checkpoint.
        describe: called with a checkpoint's folder, to write its card and records.
        keep: checkpoints kept.
        **kwargs: of `transformers.Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *, method: Method, renderer: Renderer, describe: Any, keep: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.method, self.renderer, self._describe, self._keep = method, renderer, describe, keep
        self.monitor = Monitor(supervised=method.supervised, beta=getattr(method.hyper, "beta", None))
        self.meter: Any = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The share of this micro-batch in the loss of the whole step, so that shares add up to it.

        Raises:
            CheckFailedError: the method's denominator depends on log-probabilities.
        """
        self.monitor.count("skipped", inputs["skipped"])
        self.monitor.count("truncated", inputs["truncated"])
        batch: PackedBatch | None = inputs["batch"]
        if batch is None:
            # Every process takes part in the reduction of gradients, also with nothing to add.
            return torch.stack([p.sum() * 0 for p in model.parameters() if p.requires_grad]).sum()
        logs_next = (self.state.global_step + 1) % max(1, int(self.args.logging_steps)) == 0
        group: GroupLogps = model(batch, statistics=logs_next)
        if "reference" in self.method.needs:
            group = with_reference(group, self.reference(model, batch))
        with blamed(self.method.module):
            output = self.method.module.loss(group, self.method.hyper)
        denominator = float(output.metrics["denominator"])
        if denominator != inputs["denominator"]:
            raise CheckFailedError(
                f"the loss is a mean over {denominator:g} units, {inputs['denominator']:g} were counted before the "
                "forward; a method's denominator may not depend on log-probabilities"
            )
        self.monitor.add(group, output)
        if self.meter is not None:
            self.meter.add(batch)
        self.monitor.count("num_tokens", batch.n_tokens)
        assert num_items_in_batch is not None
        return output.loss * (denominator * self.accelerator.num_processes / float(num_items_in_batch))

    def reference(self, model: nn.Module, batch: PackedBatch) -> GroupLogps:
        """The reference's log-probabilities, one group at a time: a number never depends on what else was missing."""
        plain = self.accelerator.unwrap_model(model)
        if self.is_fsdp_enabled:
            # Sharded weights are gathered by the wrapper's forward, which all processes enter or none.
            missing = torch.tensor(float(not plain.is_known(batch.groups)), device=self.args.device)
            scorer = model if float(self.accelerator.reduce(missing)) else plain
        else:
            scorer = plain
        with torch.no_grad():
            parts = [scorer(pack([g]), of_reference=True) for g in batch.groups]
        shape = batch.shape_BKT
        token_BKT = torch.zeros(shape)
        for i, part in enumerate(parts):
            assert part.token_policy_BKT is not None
            _, k, t = part.token_policy_BKT.shape
            token_BKT[i, :k, :t] = part.token_policy_BKT[0].cpu()
        zeros = torch.zeros(shape[:2])
        return GroupLogps(
            policy_BK=token_BKT.sum(-1), n_tokens_BK=zeros.long(), mask_BK=zeros.bool(), token_policy_BKT=token_BKT
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor | int | None:
        total = torch.tensor(sum(b["denominator"] for b in batch_samples), dtype=torch.float64, device=device)
        if self.accelerator.num_processes > 1:
            total = self.accelerator.reduce(total, "sum")
        return total.clamp(min=1.0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the batches reported since the last line, over all processes.

        Raises:
            DivergedError: the loss or the norm of its gradient is infinite or undefined.
        """
        # In half precision a norm may overflow; the scaler then passes over the step.
        for name in ("loss", "train_loss") if self.args.fp16 else ("loss", "train_loss", "grad_norm"):
            if name in logs and not math.isfinite(float(logs[name])):
                raise DivergedError(
                    f"training diverged: {name} {float(logs[name])} at step {self.state.global_step}",
                    next="a lower learning rate, or look at the method's loss",
                )
        parts = [self.monitor.take()]
        if self.accelerator.num_processes > 1:
            gathered: list[Any] = [None] * self.accelerator.num_processes
            torch.distributed.all_gather_object(gathered, parts[0])
            parts = gathered
        super().log(logs | means(parts), start_time)

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Any] | None = None) -> None:
        """Model, tokenizer and processor in the formats of transformers and PEFT."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        inner = self.accelerator.unwrap_model(self.model).model
        state = None if state_dict is None else {k.removeprefix("model."): v for k, v in state_dict.items()}
        students.save_weights(inner, self.renderer, folder, state)

    def save_final(self, folder: Path) -> None:
        """Write the finished model; every process takes part, the first one writes."""
        state = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None
        self._save(str(folder), state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            students.load_weights(self.accelerator.unwrap_model(self.model).model, Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Everything the Trainer saves, then the card, then the marker, then older checkpoints go."""
        out = Path(str(self.args.output_dir))
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = out / f"checkpoint-{self.state.global_step}"
            self._describe(folder)
            checkpoints.seal(folder)
            checkpoints.rotate(out, self._keep)
        self.accelerator.wait_for_everyone()
