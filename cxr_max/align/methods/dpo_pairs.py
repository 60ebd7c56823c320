"""DPO on every pair of the positive and one negative: what expanding groups to rows of pairs trains on.

The authors' released script runs stock pairwise DPO, so published numbers may be this. It optimises the sum of
the N pairwise losses, which bounds APO's from above: max_u L_DPO(u) <= L_APO <= sum_u L_DPO(u) at w = 1.
"""

from cxr_max.align.methods import dpo
from cxr_max.align.types import GroupLogps, LossOutput

NAME = "dpo_pairs"
NEEDS = frozenset({"reference"})
Hyper = dpo.Hyper


def loss(group: GroupLogps, hyper: dpo.Hyper) -> LossOutput:
    """-log sigmoid(beta (h_+ - h_u)), mean over all pairs of the batch; the anchor is in each pair.

    Of a teacher's weight only 0 is read, which takes the negative out.

    Raises:
        DataError: no group has a negative.
    """
    return dpo.over_pairs(group, hyper)
