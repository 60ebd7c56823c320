"""Records of the alignment engine, and the legend of its tensor names.

A tensor's name ends in its dimensions, one capital letter each:

    B  preference groups in a batch
    K  completions of a group, 1 + N: column 0 is the positive, columns 1..N the negatives
    L  rows of a packed batch; each holds one group or several
    M  scored tokens of a packed batch, in any order
    T  tokens of one completion, end-of-text token included, padded on the right
    P  tokens of a group's prefix: chat template, image placeholders, prompt
    S  tokens of a packed sequence: one prefix and all completions after it
    D  hidden size of the text model
    V  vocabulary
    R  rows of the vocabulary projection worked on at once

A group is always explicit, `[B, K]` with a mask; the place in a flat batch never carries a meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cxr_max.errors import DataError


@dataclass(frozen=True)
class PreferenceGroup:
    """One prompt with its image, one positive and N negatives, as text.

    Attributes:
        instance_id: the instance this is about.
        diseases: diagnoses of the instance, as the release gives them.
        completions: column 0 the positive, then the negatives.
        sources: who wrote each completion: a teacher id, or the consensus strategy for the positive.
        prompt: the question of the release; None leaves it to the template.
        answers: the diagnoses each completion ends in, for templates that print them; None takes `diseases`
            for every completion.
        weights: w_u of the APO loss, one per negative, finite and at least 0; None stands for all 1.
        image: path of the image, or None for a group of text alone.
    """

    instance_id: str
    diseases: tuple[str, ...]
    completions: tuple[str, ...]
    sources: tuple[str, ...]
    prompt: str | None = None
    answers: tuple[tuple[str, ...], ...] | None = None
    weights: tuple[float, ...] | None = None
    image: str | None = None

    def __post_init__(self) -> None:
        n = len(self.completions)
        if not n or any(not text.strip() for text in self.completions):
            raise DataError("a group needs at least one completion and none may be empty")
        if len(self.sources) != n or (self.answers is not None and len(self.answers) != n):
            raise DataError(
                f"{n} completions came with {len(self.sources)} sources and "
                f"{'no' if self.answers is None else len(self.answers)} answers"
            )
        if self.weights is not None and len(self.weights) != n - 1:
            raise DataError(f"{n - 1} negatives came with {len(self.weights)} weights")
        if self.weights is not None and not all(0 <= w < float("inf") for w in self.weights):
            raise DataError("a weight is negative or not finite; allowed: 0 and above")

    @property
    def n_negatives(self) -> int:
        """N, the number of negatives."""
        return len(self.completions) - 1


@dataclass(frozen=True)
class RenderedGroup:
    """A group as token ids and pixels, ready to be packed.

    Attributes:
        instance_id: the instance this is about.
        prefix_ids_P: chat template, one placeholder per image token, question, and the opening of the answer's turn.
        completion_ids: one [T] tensor of int64 per column, end-of-text token included unless it was cut off.
        scored: one [T] tensor of bool per column; True where the token's log-probability counts.
        sources: who wrote each column.
        weights: w_u of the negatives, or None.
        steps: one [T] tensor of int64 per column, the reasoning step of each token or -1; or None.
        pixels: what the image processor made of the image (`pixel_values`, `image_grid_thw` and their like); empty
            for a group of text alone.
        image_key: hash of `pixels`, hence of the image and every processor setting; empty for text.
        n_truncated: completions that were cut.
    """

    instance_id: str
    prefix_ids_P: Tensor
    completion_ids: tuple[Tensor, ...]
    scored: tuple[Tensor, ...]
    sources: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    steps: tuple[Tensor, ...] | None = None
    pixels: Mapping[str, Tensor] = field(default_factory=dict)
    image_key: str = ""
    n_truncated: int = 0

    def __post_init__(self) -> None:
        n = len(self.completion_ids)
        if not n or not len(self.prefix_ids_P):
            raise DataError("a rendered group needs a prefix and at least one completion")
        if len(self.scored) != n or len(self.sources) != n:
            raise DataError(f"{n} completions came with {len(self.scored)} score masks and {len(self.sources)} sources")
        for ids, scored in zip(self.completion_ids, self.scored, strict=True):
            if not len(ids) or len(ids) != len(scored):
                raise DataError(f"a completion of {len(ids)} tokens came with {len(scored)} score marks")


@dataclass(frozen=True)
class GroupLogps:
    """Log-probabilities of groups of completions given their prompt and image, and what a loss may need beside.

    Sums run over the completion's tokens that are scored, in float32 or wider. Entries where `mask_BK` is False
    are 0 and mean nothing.

    Attributes:
        policy_BK: sum of log pi_theta over the scored tokens, in nats, at most 0.
        n_tokens_BK: number of scored tokens (int64), at least 1 where the mask is True.
        mask_BK: True where there is a completion. Column 0 is the positive.
        reference_BK: the same sum under the reference model, without gradient.
        log_w_BK: log of the teacher weights; column 0 is not read; -inf takes a negative out.
        teacher_BK: index into `teachers` (int64), -1 where unknown or masked.
        token_policy_BKT: log pi_theta of each scored token, 0 outside.
        token_reference_BKT: the same under the reference.
        token_mask_BKT: True at scored tokens.
        step_BKT: reasoning step a token belongs to, as an index into `findings.segment` of the completion's
            trajectory, -1 outside.
        teachers: names behind `teacher_BK`.
        entropy_BKT, top1_BKT, mean_logit_BKT: per scored token, without gradient, for monitoring alone: entropy of the
            prediction in nats, whether the token is the likeliest (bool), and the mean of the logits.
    """

    policy_BK: Tensor
    n_tokens_BK: Tensor
    mask_BK: Tensor
    reference_BK: Tensor | None = None
    log_w_BK: Tensor | None = None
    teacher_BK: Tensor | None = None
    token_policy_BKT: Tensor | None = None
    token_reference_BKT: Tensor | None = None
    token_mask_BKT: Tensor | None = None
    step_BKT: Tensor | None = None
    teachers: tuple[str, ...] = field(default=())
    entropy_BKT: Tensor | None = None
    top1_BKT: Tensor | None = None
    mean_logit_BKT: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.policy_BK.shape)
        if len(shape) != 2:
            raise DataError(f"policy_BK has shape {shape}; allowed: [groups, completions]")
        for name in ("n_tokens_BK", "mask_BK", "reference_BK", "log_w_BK", "teacher_BK"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise DataError(f"{name} has shape {tuple(value.shape)}, policy_BK has {shape}")
        if self.mask_BK.dtype != torch.bool:
            raise DataError(f"mask_BK is {self.mask_BK.dtype}; allowed: torch.bool")
        for name in ("token_policy_BKT", "token_reference_BKT", "token_mask_BKT", "step_BKT"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape[:2]) != shape:
                raise DataError(f"{name} starts with {tuple(value.shape[:2])}, policy_BK has {shape}")

    def with_reference(self, reference_BK: Tensor, token_reference_BKT: Tensor | None = None) -> "GroupLogps":
        """The same groups with the reference model's log-probabilities beside the policy's."""
        return replace(self, reference_BK=reference_BK, token_reference_BKT=token_reference_BKT)

    def detach(self) -> "GroupLogps":
        """The same groups with every tensor out of the autograd graph."""
        values: dict[str, Any] = {k: v.detach() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return GroupLogps(**values)


class LossOutput(NamedTuple):
    """What a method returns.

    Attributes:
        loss: 0-d tensor with gradient, the mean over `metrics["denominator"]` units (groups, pairs, tokens: the
            method says which), so that the sum of loss * denominator over micro-batches, divided by the sum of
            denominators, is the loss of the step.
        metrics: name to 0-d tensor without gradient; NaN where undefined, with its count beside it.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
