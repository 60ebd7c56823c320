"""Penalise drifting steps only.

APO pushes a teacher's whole trajectory down, also the steps in which it is right. Here each negative is cut after its
first drifting step, a step that affirms what the consensus does not, and only that step's tokens are pushed down; the
tokens before it stay as context without a gradient of their own. A teacher without such a step is no negative.

    L = logsumexp([0, a_1 .. a_N]),  a_u = beta * (mean over the step's tokens of r_t - mean over the positive's of r_t)

with r_t = log pi_theta - log pi_ref of a token. Means, since a step is much shorter than a consensus.
"""

from dataclasses import dataclass, replace

import torch

from cxr_max import findings
from cxr_max.align.losses import mean_over_groups, plackett_luce_first, reward_metrics, valid_negatives, wide
from cxr_max.align.types import GroupLogps, LossOutput, PreferenceGroup
from cxr_max.errors import DataError, UsageError

NAME = "drifting_steps"
NEEDS = frozenset({"reference", "tokens", "steps"})


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        beta: inverse temperature, above 0; larger than APO's, since rewards are means over tokens.
    """

    beta: float = 5.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise UsageError(f"beta {self.beta!r}; allowed: above 0")


def select(group: PreferenceGroup, hyper: Hyper) -> PreferenceGroup | None:
    """The group with every negative cut after its first drifting step; None when no negative drifts."""
    positive = group.completions[0]
    agreed = {(f.concept, f.side) for f in findings.extract(positive).findings if f.status != "absent"}
    ends = [0, *(first_drift(text, agreed) for text in group.completions[1:])]
    kept = [0, *(k for k, end in enumerate(ends) if end > 0)]
    if len(kept) == 1:
        return None
    return replace(
        group,
        completions=(positive, *(group.completions[k][: ends[k]] for k in kept[1:])),
        sources=tuple(group.sources[k] for k in kept),
        answers=None if group.answers is None else tuple(group.answers[k] for k in kept),
        weights=None if group.weights is None else tuple(group.weights[k - 1] for k in kept[1:]),
    )


def first_drift(text: str, agreed: set[tuple[str, str | None]]) -> int:
    """Where the first step ends that affirms a finding which is not agreed on; 0 when there is none."""
    extraction = findings.extract(text)
    concepts = {concept for concept, _ in agreed}
    for step in extraction.steps:
        for f in extraction.findings:
            if step.start <= f.start < step.end and f.status == "present":
                supported = (f.concept, f.side) in agreed or (f.side is None and f.concept in concepts)
                if not supported:
                    return step.end
    return 0


def loss(group: GroupLogps, hyper: Hyper) -> LossOutput:
    """Mean over groups; the last step of each negative is its drifting one.

    Args:
        group: with token log-probabilities of policy and reference, and steps.
        hyper: settings.

    Raises:
        DataError: tokens, their reference or steps are missing.
    """
    tokens = (group.token_policy_BKT, group.token_reference_BKT, group.token_mask_BKT, group.step_BKT)
    policy_BKT, reference_BKT, scored_BKT, step_BKT = tokens
    if policy_BKT is None or reference_BKT is None or scored_BKT is None or step_BKT is None:
        raise DataError("drifting_steps needs tokens, their reference and steps")
    last_BK1 = step_BKT.amax(dim=2, keepdim=True)
    counted_BKT = scored_BKT & (step_BKT == last_BK1) & (step_BKT >= 0)
    # The positive counts whole.
    counted_BKT = torch.cat([scored_BKT[:, :1], counted_BKT[:, 1:]], dim=1)
    n_BK = counted_BKT.sum(dim=2)
    ratio_BKT = (wide(policy_BKT) - wide(reference_BKT).detach()).masked_fill(~counted_BKT, 0.0)
    reward_BK = ratio_BKT.sum(dim=2) / n_BK.clamp(min=1)
    valid_BN = valid_negatives(group) & (n_BK[:, 1:] > 0)
    keep_B = valid_BN.any(dim=1)
    a_BN = hyper.beta * (reward_BK[:, 1:] - reward_BK[:, :1])
    loss_B, _ = plackett_luce_first(a_BN, valid_BN)
    metrics = reward_metrics(group, valid_BN, keep_B, hyper.beta)
    metrics["denominator"] = metrics["groups"]
    metrics["drifting_tokens"] = n_BK[:, 1:][valid_BN].float().mean()
    return LossOutput(mean_over_groups(loss_B, keep_B), metrics)
