"""DPO (arXiv 2305.18290, Eq. 7): the positive against exactly one negative."""

from dataclasses import dataclass

from cxr_max.align.losses import (
    LENGTH_NORMS,
    check_above_zero,
    check_choice,
    check_weight,
    dpo_term,
    margins,
    nll_of_positive,
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
        nll_weight: weight of the positive's negative log-likelihood per token in each pair (RPO, arXiv 2404.19733).
    """

    beta: float = 0.1
    length_norm: str = "sum"
    nll_weight: float = 0.0

    def __post_init__(self) -> None:
        check_above_zero("beta", self.beta)
        check_choice("length_norm", self.length_norm, LENGTH_NORMS[:2])
        check_weight("nll_weight", self.nll_weight)


def over_pairs(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """-log sigmoid(beta (h_+ - h_u)), with the anchor, as a mean over all pairs of the batch.

    Raises:
        DataError: no group has a negative.
    """
    valid_BN = valid_negatives(group)
    nll_B = nll_of_positive(group)
    loss_BN = dpo_term(margins(group, hyper.length_norm), hyper.beta)
    if hyper.nll_weight:
        loss_BN = loss_BN + hyper.nll_weight * nll_B[:, None]
    mean, keep_B = pair_loss(loss_BN, valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    metrics["denominator"] = metrics["negatives"]
    metrics["nll_per_token/chosen"] = nll_B.detach()[keep_B].mean()
    return LossOutput(mean, metrics)


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
    return over_pairs(group, hyper)
