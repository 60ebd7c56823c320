"""What training reports: sums and counts per batch, so that a mean over micro-batches and processes is exact.

Names are TRL's where TRL has the metric (`rewards/accuracies` is a mean over pairs). Beside them: one column per
teacher, `rewards/accuracies_all` (the positive above all its negatives), the shares q_u of the gradient, lengths.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cxr_max.align.losses import log_ratio, per_token, valid_negatives, wide
from cxr_max.align.types import GroupLogps, LossOutput

Sums = dict[str, tuple[float, float]]
COUNTS = ("groups", "groups_dropped", "negatives", "completions", "tokens", "skipped", "truncated", "num_tokens")
"""Reported as sums over the steps between two lines, not as means."""


class Monitor:
    """Collects what batches report until a line of the log takes it.

    Args:
        supervised: whether no completion is the positive.
        beta: scale of the rewards; None reports none.
    """

    def __init__(self, *, supervised: bool, beta: float | None) -> None:
        self._supervised = supervised
        self._beta = beta
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, group: GroupLogps, output: LossOutput) -> None:
        """Take one batch: our own sums, and whatever else the method reports as a mean over its denominator."""
        own = supervised(group) if self._supervised else preference(group, self._beta)
        for name, (total, count) in own.items():
            self._add(name, total, count)
        denominator = float(output.metrics["denominator"])
        for name, value in output.metrics.items():
            if name in own or name == "denominator":
                continue
            if name in COUNTS:
                self._add(name, float(value), 1.0)
            elif not math.isnan(float(value)):
                count = own[f"n/{name.rpartition('/')[2]}"][0] if f"n/{name.rpartition('/')[2]}" in own else denominator
                self._add(name, float(value) * count, count)

    def count(self, name: str, n: float = 1.0) -> None:
        """Count something, such as a group that could not be read."""
        self._add(name, n, 1.0)

    def take(self) -> Sums:
        """What was collected since the last call."""
        found = {name: (total, count) for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return found

    def _add(self, name: str, total: float, count: float) -> None:
        entry = self._sums[name]
        entry[0] += total
        entry[1] += count


def means(parts: list[Sums]) -> dict[str, float]:
    """Sums of several processes as the numbers of one line; names whose count is 0 are left out."""
    joined: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for part in parts:
        for name, (total, count) in part.items():
            joined[name][0] += total
            joined[name][1] += count
    return {
        name: total if name in COUNTS else total / count
        for name, (total, count) in sorted(joined.items())
        if count and not name.startswith("n/")
    }


def supervised(group: GroupLogps) -> Sums:
    """Metrics of training on completions alone."""
    return _clean(_of_tokens(group, group.mask_BK) | {"length": _sum(group.n_tokens_BK, group.mask_BK)})


def preference(group: GroupLogps, beta: float | None) -> Sums:
    """Metrics of one positive against N negatives; rewards where there are a reference and a beta."""
    valid_BN = valid_negatives(group)
    keep_B1 = valid_BN.any(dim=1, keepdim=True)
    policy_BK = wide(group.policy_BK).detach()
    chosen, rejected = policy_BK[:, :1], policy_BK[:, 1:]
    length_BK = group.n_tokens_BK
    rows: dict[str, Any] = {
        "logps/chosen": _sum(chosen, keep_B1),
        "logps/rejected": _sum(rejected, valid_BN),
        "logps_per_token/chosen": _sum(per_token(policy_BK, group)[:, :1], keep_B1),
        "logps_per_token/rejected": _sum(per_token(policy_BK, group)[:, 1:], valid_BN),
        "length/chosen": _sum(length_BK[:, :1], keep_B1),
        "length/rejected": _sum(length_BK[:, 1:], valid_BN),
    }
    rows |= _by_teacher(group, "logps/rejected", rejected, valid_BN)
    rows |= _by_teacher(group, "length/rejected", length_BK[:, 1:], valid_BN)
    rows |= {f"n/{t}": (count, 1.0) for t, (_, count) in _by_teacher(group, "", rejected, valid_BN).items()}
    rows |= _of_tokens(group, torch.cat([keep_B1, valid_BN], dim=1), preference=True)
    if group.reference_BK is not None and beta is not None:
        h_BK = log_ratio(group).detach()
        better_BN = h_BK[:, :1] > h_BK[:, 1:]
        all_B1 = (better_BN | ~valid_BN).all(dim=1, keepdim=True)
        rows |= {
            "rewards/chosen": _sum(beta * h_BK[:, :1], keep_B1),
            "rewards/rejected": _sum(beta * h_BK[:, 1:], valid_BN),
            "rewards/margins": _sum(beta * (h_BK[:, :1] - h_BK[:, 1:]), valid_BN),
            "rewards/accuracies": _sum(better_BN, valid_BN),
            "rewards/accuracies_all": _sum(all_B1, keep_B1),
            "h_per_token/chosen": _sum(per_token(h_BK, group)[:, :1], keep_B1),
            "h_per_token/rejected": _sum(per_token(h_BK, group)[:, 1:], valid_BN),
        }
        rows |= _by_teacher(group, "rewards/rejected", beta * h_BK[:, 1:], valid_BN)
    return _clean(rows)


def _of_tokens(group: GroupLogps, counts_BK: Tensor, *, preference: bool = False) -> Sums:
    """Entropy and accuracy of the predictions, and with a positive the mean logits of both sides, as TRL has them."""
    if group.token_mask_BKT is None:
        return {}
    on_BKT = group.token_mask_BKT & counts_BK[..., None]
    rows: Sums = {}
    if group.entropy_BKT is not None:
        rows["entropy"] = _sum(group.entropy_BKT, on_BKT)
    first_BKT = on_BKT[:, :1] if preference else on_BKT
    if group.top1_BKT is not None:
        rows["mean_token_accuracy"] = _sum(group.top1_BKT[:, :1] if preference else group.top1_BKT, first_BKT)
    if group.mean_logit_BKT is not None and preference:
        rows["logits/chosen"] = _sum(group.mean_logit_BKT[:, :1], on_BKT[:, :1])
        rows["logits/rejected"] = _sum(group.mean_logit_BKT[:, 1:], on_BKT[:, 1:])
    return rows


def _by_teacher(group: GroupLogps, name: str, x_BN: Tensor, valid_BN: Tensor) -> Sums:
    if group.teacher_BK is None:
        return {}
    masks = {t: valid_BN & (group.teacher_BK[:, 1:] == i) for i, t in enumerate(group.teachers)}
    prefix = f"{name}/" if name else ""
    return {f"{prefix}{t}": _sum(x_BN, mask) for t, mask in masks.items() if bool(mask.any())}


def _sum(x: Tensor, mask: Tensor) -> tuple[float, float]:
    kept = x.detach()[mask]
    return float(kept.double().sum()), float(kept.numel())


def _clean(rows: Mapping[str, tuple[float, float]]) -> Sums:
    return {name: pair for name, pair in rows.items() if pair[1]}
