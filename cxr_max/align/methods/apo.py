"""APO, Autonomous Preference Optimization: one positive against all teachers at once. Not TRL's `apo_zero`.

P(t+ > T) = exp r(t+) / (exp r(t+) + sum_u w_u exp r(t^u)) with r = beta * log(pi_theta / pi_ref), L = -log P
(manuscript Eq. 9 to 11; the published version has w_u = 1). With w = 1 this is S-DPO (arXiv 2406.09215), with one
negative DPO. Gradients: dL/dh_+ = -beta (1 - q_+), dL/dh_u = beta q_u; they sum to 0, so both likelihoods may fall.
"""

from dataclasses import dataclass

import torch

from cxr_max.align.losses import (
    LENGTH_NORMS,
    by_teacher,
    check_above_zero,
    check_choice,
    check_weight,
    margins,
    mean_over_groups,
    nll_of_positive,
    plackett_luce_first,
    reward_metrics,
    valid_negatives,
    wide,
)
from cxr_max.align.types import GroupLogps, LossOutput
from cxr_max.errors import UsageError

NAME = "apo"
NEEDS = frozenset({"reference"})
OVER_TEACHERS = ("sum", "mean", "fixed")


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        beta: inverse temperature of the reward; the paper gives none, its scripts leave DPO's 0.1.
        over_teachers: `sum` as the paper writes it: studies with more teachers start at a higher loss,
            log(1 + sum w); `mean`: weights of a study scaled to sum 1, so that every study starts at log 2;
            `fixed`: as `sum`, and studies with fewer than `n_fixed` negatives are dropped and counted.
        n_fixed: negatives a study needs under `fixed`; None takes the most that a group of the batch can have.
        length_norm: `sum` over tokens (paper), `mean` per token, `ld` (see `losses.margins`).
        ld_alpha: for `ld`, in [0, 1].
        nll_weight: weight of an anchor that keeps the positive from sinking: its negative log-likelihood per token.
    """

    beta: float = 0.1
    over_teachers: str = "sum"
    n_fixed: int | None = None
    length_norm: str = "sum"
    ld_alpha: float = 0.5
    nll_weight: float = 0.0

    def __post_init__(self) -> None:
        check_above_zero("beta", self.beta)
        check_choice("over_teachers", self.over_teachers, OVER_TEACHERS)
        check_choice("length_norm", self.length_norm, LENGTH_NORMS)
        if not 0 <= self.ld_alpha <= 1:
            raise UsageError(f"ld_alpha {self.ld_alpha!r}; allowed: 0 to 1")
        check_weight("nll_weight", self.nll_weight)
        if self.n_fixed is not None and self.n_fixed < 1:
            raise UsageError(f"n_fixed {self.n_fixed!r}; allowed: 1 and above")


def needs(hyper: Hyper) -> frozenset[str]:
    """Tokens only for the length-desensitised norm."""
    return NEEDS | {"tokens"} if hyper.length_norm == "ld" else NEEDS


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """L = logsumexp([0, a_1 .. a_N]), a_u = beta (h_u - h_+) + log w_u, mean over groups.

    Args:
        group: with reference; masked negatives and those of weight 0 are left out of the sum.
        hyper: settings.

    Raises:
        DataError: no group has a negative, or the reference is missing.
    """
    valid_BN = valid_negatives(group)
    keep_B = valid_BN.any(dim=1)
    if hyper.over_teachers == "fixed":
        wanted = group.mask_BK.shape[1] - 1 if hyper.n_fixed is None else hyper.n_fixed
        keep_B = keep_B & (valid_BN.sum(dim=1) >= wanted)
    margin_BN = margins(group, hyper.length_norm, hyper.ld_alpha)
    log_w_BN = torch.zeros_like(margin_BN) if group.log_w_BK is None else wide(group.log_w_BK[:, 1:]).to(margin_BN)
    log_w_BN = log_w_BN.masked_fill(~valid_BN, -torch.inf)
    if hyper.over_teachers == "mean":
        total_B = torch.logsumexp(log_w_BN, dim=1, keepdim=True)
        log_w_BN = log_w_BN - total_B.masked_fill(total_B == -torch.inf, 0.0)
    a_BN = hyper.beta * margin_BN + log_w_BN.masked_fill(~valid_BN, 0.0)
    loss_B, q_BN = plackett_luce_first(a_BN, valid_BN)
    nll_B = nll_of_positive(group)
    if hyper.nll_weight:
        loss_B = loss_B + hyper.nll_weight * nll_B
    mean = mean_over_groups(loss_B, keep_B)
    kept_BN = valid_BN & keep_B[:, None]
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    metrics["denominator"] = metrics["groups"]
    metrics["nll_per_token/chosen"] = nll_B.detach()[keep_B].mean()
    metrics["q/chosen"] = (1 - q_BN.sum(dim=1))[keep_B].mean()
    return LossOutput(mean, metrics | by_teacher(group, "q", q_BN, kept_BN))
