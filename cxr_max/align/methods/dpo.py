"""DPO (arXiv 2305.18290, Eq. 7): the positive against exactly one negative."""

from dataclasses import dataclass

from cxr_max.align.losses import (
    LENGTH_NORMS,
    check_above_zero,
    check_choice,
    dpo_term,
    margins,
    pair_loss,
    reward_metrics,
    valid_negatives,
)
from cxr_max.align.types import GroupLogps, LossOutput
from cxr_max.errors import DataError

NAME = "dpo"
NEEDS = frozenset({"reference"})


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        beta: inverse temperature of the reward.
        length_norm: `sum` over tokens (the paper's), `mean` per token.
    """

    beta: float = 0.1
    length_norm: str = "sum"

    def __post_init__(self) -> None:
        check_above_zero("beta", self.beta)
        check_choice("length_norm", self.length_norm, LENGTH_NORMS[:2])


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """-log sigmoid(beta (h_+ - h_1)), mean over groups.

    Of a teacher's weight only 0 is read, which takes the negative out.

    Raises:
        DataError: a group has more than one negative, or none has one.
    """
    valid_BN = valid_negatives(group)
    if bool((valid_BN.sum(dim=1) > 1).any()):
        raise DataError(
            f"dpo takes one negative per group, up to {int(valid_BN.sum(dim=1).max())} came",
            next="use dpo_pairs, or choose negatives with top_k of 1",
        )
    mean, keep_B = pair_loss(dpo_term(margins(group, hyper.length_norm), hyper.beta), valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    return LossOutput(mean, metrics | {"denominator": metrics["negatives"]})
