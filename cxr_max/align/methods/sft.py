"""Supervised bootstrapping: next-token cross-entropy over trajectories (manuscript Eq. 6).

argmin_q sum_u KL(P_u || q) is the mean of the teachers' distributions, so plain cross-entropy on the pooled
trajectories, all columns alike, moves the student to the union of the teachers.
"""

from dataclasses import dataclass

from cxr_max.align.losses import by_teacher, check_choice, masked_mean, per_token, wide
from cxr_max.align.types import GroupLogps, LossOutput
from cxr_max.errors import DataError

NAME = "sft"
NEEDS: frozenset[str] = frozenset()
SUPERVISED = True
AVERAGES = ("tokens", "completions")


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        average: over all `tokens` of the batch, as language-model trainers do, so that long trajectories weigh
            more; or over `completions`, each the mean of its tokens.
    """

    average: str = "tokens"

    def __post_init__(self) -> None:
        check_choice("average", self.average, AVERAGES)


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """Cross-entropy in nats per token over every completion under the mask; column 0 is one like the others.

    Raises:
        DataError: the batch has no completion.
    """
    mask_BK = group.mask_BK
    if not bool(mask_BK.any()):
        raise DataError("no completion in the batch", next="drop empty groups before batching")
    nll_BK = -wide(group.policy_BK)
    token_BK = per_token(nll_BK, group)
    if hyper.average == "tokens":
        mean = nll_BK[mask_BK].sum() / group.n_tokens_BK[mask_BK].sum()
    else:
        mean = token_BK[mask_BK].mean()
    metrics = {
        "groups": mask_BK.any(dim=1).sum(),
        "completions": mask_BK.sum(),
        "tokens": group.n_tokens_BK[mask_BK].sum(),
        "denominator": group.n_tokens_BK[mask_BK].sum() if hyper.average == "tokens" else mask_BK.sum(),
        "nll_per_token": masked_mean(token_BK, mask_BK),
    }
    return LossOutput(mean, metrics | by_teacher(group, "nll_per_token", token_BK, mask_BK))
