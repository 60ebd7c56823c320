"""What the losses over groups share: the masked Plackett-Luce term, length norms, pairs, metrics.

h(t) = log pi_theta(t | v, l) - log pi_ref(t | v, l) for image v and prompt l; r = beta * h is the reward.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from cxr_max.align import methods
from cxr_max.align.types import GroupLogps, LossOutput
from cxr_max.errors import DataError, UsageError

LENGTH_NORMS = ("sum", "mean", "ld")


def group_loss(
    method: str, h_BK: Tensor, mask_BK: Tensor, *, beta: float = 0.1, log_w_BK: Tensor | None = None
) -> LossOutput:
    """A loss of h = log pi_theta - log pi_ref alone, for those who have it at hand.

    Args:
        method: a method whose loss needs no tokens, with a setting `beta`: apo, dpo, dpo_pairs, ipo and their like.
        h_BK: log-ratios in nats, column 0 the positive.
        mask_BK: True where there is a completion.
        beta: inverse temperature of the reward, above 0.
        log_w_BK: log of the teacher weights; column 0 is not read.

    Raises:
        UsageError: the method needs more than h.
        DataError: no group is left, or the shapes differ.
    """
    module = methods.get(method)
    hyper = (
        module.Hyper(beta=beta, length_norm="sum")
        if _has_field(module.Hyper, "length_norm")
        else module.Hyper(beta=beta)
    )
    if methods.needs(method, hyper) != {"reference"}:
        raise UsageError(
            f"{method} is no loss of log-ratios alone", next=f"call methods.get({method!r}).loss on GroupLogps"
        )
    group = GroupLogps(
        policy_BK=h_BK,
        n_tokens_BK=mask_BK.long(),
        mask_BK=mask_BK,
        reference_BK=torch.zeros_like(h_BK),
        log_w_BK=log_w_BK,
    )
    output: LossOutput = module.loss(group, hyper)
    return output


def plackett_luce_first(a_BN: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
    """-log of the probability that the positive ranks first among 1 + N, and the negatives' share of it.

    L = logsumexp([0, a_1 .. a_N]) with a_u = beta (h_u - h_+) + log w_u (paper, Eq. 9 to 11 of the manuscript,
    7 to 9 of the published version), which never overflows. dL/da_u = q_u = exp(a_u) / (1 + sum exp(a)).

    Args:
        a_BN: log-odds of each negative against the positive.
        valid_BN: negatives that count; the others' values are not read.

    Returns:
        loss_B and q_BN (without gradient, 0 where not valid).
    """
    masked_BN = a_BN.masked_fill(~valid_BN, -torch.inf)
    all_BK = torch.cat([masked_BN.new_zeros(len(masked_BN), 1), masked_BN], dim=1)
    return torch.logsumexp(all_BK, dim=1), torch.softmax(all_BK.detach(), dim=1)[:, 1:]


def wide(x: Tensor) -> Tensor:
    """At least float32: bf16 sums of hundreds of log-probabilities lose the margins."""
    return x if x.dtype == torch.float64 else x.float()


def log_ratio(group: GroupLogps) -> Tensor:
    """h_BK, 0 where masked.

    Raises:
        DataError: there are no reference log-probabilities.
    """
    if group.reference_BK is None:
        raise DataError("the loss needs reference log-probabilities and the group has none")
    return (wide(group.policy_BK) - wide(group.reference_BK).detach()).masked_fill(~group.mask_BK, 0.0)


def per_token(h_BK: Tensor, group: GroupLogps) -> Tensor:
    """A sum divided by its number of scored tokens."""
    return h_BK / group.n_tokens_BK.clamp(min=1).to(h_BK.dtype)


def nll_of_positive(group: GroupLogps) -> Tensor:
    """Negative log-likelihood of each positive in nats per token, [B]: an anchor that keeps it from sinking."""
    return per_token(-wide(group.policy_BK), group)[:, 0]


def check_weight(name: str, value: float) -> None:
    """Refuse what is below 0, infinite or no number.

    Raises:
        UsageError: it is.
    """
    if not 0 <= value < math.inf:
        raise UsageError(f"{name} {value!r}; allowed: 0 and above")


def margins(group: GroupLogps, length_norm: str, ld_alpha: float = 1.0) -> Tensor:
    """h_u - h_+ for each negative, as [B, N], under a length norm.

    Args:
        group: with reference; with tokens for `ld`.
        length_norm: `sum` over tokens (paper, DPO); `mean` per token; `ld`: tokens beyond the shorter of the two
            completions count `ld_alpha` (LD-DPO, arXiv 2409.06411, taken for each pair of positive and negative).
        ld_alpha: in [0, 1]; 1 is `sum`, 0 cuts both to the shorter length.

    Raises:
        UsageError: an unknown norm.
        DataError: `ld` without tokens.
    """
    if length_norm in ("sum", "mean"):
        h_BK = log_ratio(group)
        h_BK = per_token(h_BK, group) if length_norm == "mean" else h_BK
        return h_BK[:, 1:] - h_BK[:, :1]
    if length_norm != "ld":
        raise UsageError(f"length_norm {length_norm!r}; allowed: {', '.join(LENGTH_NORMS)}")
    if group.token_policy_BKT is None or group.token_reference_BKT is None or group.token_mask_BKT is None:
        raise DataError("length_norm ld reads token log-probabilities of policy and reference, and the group has none")
    h_BKT = wide(group.token_policy_BKT) - wide(group.token_reference_BKT).detach()
    h_BKT = h_BKT.masked_fill(~group.token_mask_BKT, 0.0)
    place_BKT = group.token_mask_BKT.cumsum(dim=-1)
    shorter_BN = torch.minimum(group.n_tokens_BK[:, 1:], group.n_tokens_BK[:, :1])

    def discounted(h: Tensor, place: Tensor) -> Tensor:
        return (h * torch.where(place <= shorter_BN[..., None], 1.0, ld_alpha)).sum(dim=-1)

    return discounted(h_BKT[:, 1:], place_BKT[:, 1:]) - discounted(h_BKT[:, :1], place_BKT[:, :1])


def valid_negatives(group: GroupLogps) -> Tensor:
    """[B, N] of bool: negatives that are there, of a group whose positive is there, with a weight above 0."""
    valid_BN = group.mask_BK[:, 1:] & group.mask_BK[:, :1]
    if group.log_w_BK is not None:
        valid_BN = valid_BN & (group.log_w_BK[:, 1:] > -torch.inf)
    return valid_BN


def mean_over_groups(loss_B: Tensor, keep_B: Tensor) -> Tensor:
    """The mean over the groups that enter.

    Raises:
        DataError: none does; a mean over nothing is no number to train on.
    """
    if not bool(keep_B.any()):
        raise DataError(
            "no group of the batch has a positive and a negative with a weight",
            next="drop such groups before batching; negatives.select counts them",
        )
    return loss_B[keep_B].mean()


def pair_loss(loss_BN: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
    """A pairwise loss averaged over all pairs, as if each pair were a row, and which groups had any."""
    keep_B = valid_BN.any(dim=1)
    if not bool(keep_B.any()):
        mean_over_groups(keep_B, keep_B)
    return loss_BN[valid_BN].mean(), keep_B


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the entries under the mask, NaN when there is none."""
    return x.detach()[mask].mean() if bool(mask.any()) else x.new_full((), torch.nan)


def reward_metrics(group: GroupLogps, valid_BN: Tensor, keep_B: Tensor, beta: float) -> dict[str, Tensor]:
    """Metrics every preference method reports, with TRL's names and one column per teacher beside them.

    `rewards/*` are beta * h, sums over tokens; `rewards/accuracies` the share of negatives below the positive;
    `rewards/accuracies_all` the share of groups whose positive is above all its negatives; `h_per_token/*` in nats.
    Likelihoods of both sides may fall together: only differences enter the loss, so watch `logps/chosen`.
    """
    policy_BK = wide(group.policy_BK).detach()
    kept_B1 = keep_B[:, None]
    valid_BN = valid_BN & kept_B1
    metrics = {
        "groups": keep_B.sum(),
        "groups_dropped": (~keep_B).sum(),
        "negatives": valid_BN.sum(),
        "logps/chosen": masked_mean(policy_BK[:, :1], kept_B1),
        "logps/rejected": masked_mean(policy_BK[:, 1:], valid_BN),
    }
    if group.reference_BK is not None:
        h_BK = log_ratio(group).detach()
        better_BN = h_BK[:, :1] > h_BK[:, 1:]
        h_token_BK = per_token(h_BK, group)
        metrics |= {
            "rewards/chosen": beta * masked_mean(h_BK[:, :1], kept_B1),
            "rewards/rejected": beta * masked_mean(h_BK[:, 1:], valid_BN),
            "rewards/margins": beta * masked_mean(h_BK[:, :1] - h_BK[:, 1:], valid_BN),
            "rewards/accuracies": masked_mean(better_BN.float(), valid_BN),
            "rewards/accuracies_all": masked_mean((better_BN | ~valid_BN).all(dim=1).float(), keep_B),
            "h_per_token/chosen": masked_mean(h_token_BK[:, :1], kept_B1),
            "h_per_token/rejected": masked_mean(h_token_BK[:, 1:], valid_BN),
        }
        metrics |= by_teacher(group, "rewards/rejected", beta * h_BK[:, 1:], valid_BN)
    return metrics | by_teacher(group, "logps/rejected", policy_BK[:, 1:], valid_BN)


def by_teacher(group: GroupLogps, name: str, x: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """`name/<teacher>`: means over the completions of each teacher that occurs in the batch.

    Args:
        group: with `teacher_BK` and `teachers`; without them there is nothing to report.
        name: of the metric.
        x: one value per completion, [B, K], or per negative, [B, N].
        valid: which of them count, of the same shape.
    """
    if group.teacher_BK is None:
        return {}
    teacher = group.teacher_BK[:, -x.shape[1] :]
    masks = {t: valid & (teacher == i) for i, t in enumerate(group.teachers)}
    return {f"{name}/{t}": masked_mean(x, mask) for t, mask in masks.items() if bool(mask.any())}


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise unless a setting is one of those allowed.

    Raises:
        UsageError: it is not.
    """
    if value not in allowed:
        raise UsageError(f"{name} {value!r}; allowed: {', '.join(allowed)}")


def check_above_zero(name: str, value: float) -> None:
    """Raise unless a setting is finite and above 0.

    Raises:
        UsageError: it is not.
    """
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} {value!r}; allowed: finite and above 0")


def _has_field(kind: type, name: str) -> bool:
    return name in getattr(kind, "__dataclass_fields__", {})


def dpo_term(margin_BN: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta (h_+ - h_u)) for margins h_u - h_+ (DPO, arXiv 2305.18290, Eq. 7)."""
    return functional.softplus(beta * margin_BN)
