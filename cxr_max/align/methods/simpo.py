"""SimPO (arXiv 2405.14734, Eq. 6) on every pair of the positive and one negative; it has no reference model."""

from dataclasses import dataclass

from torch.nn import functional

from cxr_max.align.losses import (
    check_above_zero,
    check_weight,
    pair_loss,
    per_token,
    reward_metrics,
    valid_negatives,
    wide,
)
from cxr_max.align.types import GroupLogps, LossOutput

NAME = "simpo"
NEEDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        beta: scale of the log-probability per token.
        gamma: target margin of the reward, at least 0; the paper tunes gamma / beta in [0, 1].
    """

    beta: float = 2.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_above_zero("beta", self.beta)
        check_weight("gamma", self.gamma)


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """-log sigmoid(beta (mean log pi(t+) - mean log pi(t^u)) - gamma), mean over all pairs of the batch.

    Raises:
        DataError: no group has a negative.
    """
    valid_BN = valid_negatives(group)
    logp_BK = per_token(wide(group.policy_BK).masked_fill(~group.mask_BK, 0.0), group)
    margin_BN = hyper.beta * (logp_BK[:, :1] - logp_BK[:, 1:]) - hyper.gamma
    mean, keep_B = pair_loss(functional.softplus(-margin_BN), valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    return LossOutput(mean, metrics | {"denominator": metrics["negatives"]})
