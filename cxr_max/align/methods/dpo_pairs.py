"""DPO on every pair of the positive and one negative: what expanding groups to rows of pairs trains on.

The authors' released script runs stock pairwise DPO, so published numbers may be this. It optimises the sum of
the N pairwise losses, which bounds APO's from above: max_u L_DPO(u) <= L_APO <= sum_u L_DPO(u) at w = 1.
"""

from cxr_max.align.losses import dpo_term, margins, pair_loss, reward_metrics, valid_negatives
from cxr_max.align.methods import dpo
from cxr_max.align.types import GroupLogps, LossOutput

NAME = "dpo_pairs"
NEEDS = frozenset({"reference"})
Hyper = dpo.Hyper


def loss(group: GroupLogps, hyper: dpo.Hyper) -> LossOutput:
    """-log sigmoid(beta (h_+ - h_u)), mean over all pairs of the batch.

    Of a teacher's weight only 0 is read, which takes the negative out.

    Raises:
        DataError: no group has a negative.
    """
    valid_BN = valid_negatives(group)
    mean, keep_B = pair_loss(dpo_term(margins(group, hyper.length_norm), hyper.beta), valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    return LossOutput(mean, metrics | {"denominator": metrics["negatives"]})
