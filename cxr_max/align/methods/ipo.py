"""IPO (arXiv 2310.12036, Eq. 17) on every pair of the positive and one negative."""

from dataclasses import dataclass

from cxr_max.align.losses import (
    LENGTH_NORMS,
    check_above_zero,
    check_choice,
    margins,
    pair_loss,
    reward_metrics,
    valid_negatives,
)
from cxr_max.align.types import GroupLogps, LossOutput

NAME = "ipo"
NEEDS = frozenset({"reference"})


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        beta: tau of the paper; the margin is drawn to 1 / (2 beta).
        length_norm: `mean` per token, as the authors advise for texts and TRL does; `sum` is the formula as printed.
    """

    beta: float = 0.1
    length_norm: str = "mean"

    def __post_init__(self) -> None:
        check_above_zero("beta", self.beta)
        check_choice("length_norm", self.length_norm, LENGTH_NORMS[:2])


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """(h_+ - h_u - 1 / (2 beta))^2, mean over all pairs of the batch.

    Of a teacher's weight only 0 is read, which takes the negative out.

    Raises:
        DataError: no group has a negative.
    """
    valid_BN = valid_negatives(group)
    gap_BN = -margins(group, hyper.length_norm) - 1 / (2 * hyper.beta)
    mean, keep_B = pair_loss(gap_BN.square(), valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    return LossOutput(mean, metrics | {"denominator": metrics["negatives"]})
