"""Losses over groups: worked numbers, closed-form gradients, independent slow versions, invariances."""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_max import align
from cxr_max.align import losses, methods
from cxr_max.align.types import GroupLogps
from cxr_max.errors import DataError, UnknownNameError, UsageError

BETA = 0.1


def group(h: list[list[float]], mask: list[list[bool]] | None = None, **kw: Any) -> GroupLogps:
    """Groups with these log-ratios; reference 0, five tokens each."""
    h_BK = torch.tensor(h, dtype=torch.float64, requires_grad=True)
    mask_BK = torch.ones_like(h_BK, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return GroupLogps(h_BK, torch.full_like(mask_BK, 5, dtype=torch.long), mask_BK, torch.zeros_like(h_BK), **kw)


def apo(g: GroupLogps, **hyper: Any) -> align.LossOutput:
    module = methods.get("apo")
    return module.loss(g, module.Hyper(**hyper))


def run(name: str, g: GroupLogps, **hyper: Any) -> float:
    module = methods.get(name)
    return float(module.loss(g, module.Hyper(**hyper)).loss.detach())


def plain(metrics: Any) -> dict[str, float]:
    return {k: float(v) for k, v in metrics.items()}


def log_w(*w: float) -> torch.Tensor:
    return torch.tensor([[0.0, *(math.log(x) if x else -math.inf for x in w)]], dtype=torch.float64)


def slow_apo(h: list[float], w: list[float], beta: float) -> float:
    """The paper's formula as printed, in exact order, for values that do not overflow."""
    top = math.exp(beta * h[0])
    return -math.log(top / (top + sum(wu * math.exp(beta * hu) for wu, hu in zip(w, h[1:], strict=True))))


def slow_dpo(h_plus: float, h_minus: float, beta: float) -> float:
    return math.log1p(math.exp(-beta * (h_plus - h_minus)))


def slow_s_dpo(h: list[float], beta: float) -> float:
    """-log sigmoid(-log sum_u exp(beta (h_u - h_+))), S-DPO as published."""
    total = sum(math.exp(beta * (hu - h[0])) for hu in h[1:])
    return -math.log(1 / (1 + math.exp(math.log(total))))


def test_seven_teachers_at_the_start() -> None:
    g = group([[0.0] * 8])
    out = apo(g)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(2.079442, abs=1e-6)
    assert g.policy_BK.grad is not None
    assert g.policy_BK.grad[0].tolist() == pytest.approx([-0.0875, *[0.0125] * 7])
    assert float(apo(group([[0.0] * 8], log_w_BK=log_w(*[1 / 7] * 7))).loss.detach()) == pytest.approx(
        0.693147, abs=1e-6
    )


def test_one_negative_is_dpo() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    g = GroupLogps(torch.tensor([[-8.0, -12.0]]), mask.long(), mask, torch.tensor([[-10.0, -12.0]]))
    assert float(apo(g).loss) == pytest.approx(0.598139, abs=1e-6)
    assert run("dpo", g) == pytest.approx(0.598139, abs=1e-6)


THREE = [2.0, 0.0, -1.0, 1.0]


def test_three_teachers_worked_by_hand() -> None:
    g = group([THREE])
    out = apo(g)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(1.242536, abs=1e-6)
    assert g.policy_BK.grad is not None
    assert g.policy_BK.grad[0].tolist() == pytest.approx([-0.071135, 0.023633, 0.021384, 0.026118], abs=1e-6)
    assert float(g.policy_BK.grad.sum()) == pytest.approx(0, abs=1e-12)
    for w, want in (((0.5, 0.25, 0.25), 0.599265), ((1 / 3,) * 3, 0.599640), ((1.0, 0.0, 1.0), 1.001943)):
        assert float(apo(group([THREE], log_w_BK=log_w(*w))).loss.detach()) == pytest.approx(want, abs=1e-6)
    pairs = [slow_dpo(THREE[0], h, BETA) for h in THREE[1:]]
    assert max(pairs) <= 1.242536 <= sum(pairs) == pytest.approx(1.796891, abs=1e-6)
    assert sum(pairs) / 3 == pytest.approx(0.598964, abs=1e-6)
    assert float(apo(g, over_teachers="mean").loss.detach()) == pytest.approx(0.599640, abs=1e-6)


@pytest.mark.parametrize("out_by", ["weight", "mask"])
def test_a_negative_taken_out_has_no_gradient(out_by: str) -> None:
    g = group([THREE], log_w_BK=log_w(1, 0, 1)) if out_by == "weight" else group([THREE], [[True, True, False, True]])
    out = apo(g)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(1.001943, abs=1e-6)
    assert g.policy_BK.grad is not None
    assert g.policy_BK.grad[0, 2] == 0
    assert out.metrics["negatives"] == 2


def test_extreme_margins_stay_finite() -> None:
    for h, want in (([[-1e4, 1e4]], 20000.0), ([[1e4, -1e4]], 0.0)):
        g = group(h)
        out = apo(g, beta=1.0)
        out.loss.backward()
        assert float(out.loss.detach()) == want
        assert g.policy_BK.grad is not None
        assert bool(torch.isfinite(g.policy_BK.grad).all())


def test_pooled_cross_entropy_finds_the_mean_of_the_teachers() -> None:
    """argmin_q sum_u KL(P_u || q) is the mean; SFT on trajectories drawn in those shares has it as its minimum."""
    p = torch.tensor([[0.7, 0.3], [0.1, 0.9]], dtype=torch.float64)
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-12)
    counts = (10 * p).flatten().round().long()
    tokens = torch.tensor([0, 1, 0, 1]).repeat_interleave(counts)
    module = methods.get("sft")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        policy_BK = logits.log_softmax(0)[tokens][None]
        mask = torch.ones_like(policy_BK, dtype=torch.bool)
        value: torch.Tensor = module.loss(GroupLogps(policy_BK, mask.long(), mask), module.Hyper()).loss
        value.backward()
        return value

    optimizer.step(closure)
    q = logits.detach().softmax(0)
    assert q.tolist() == pytest.approx([0.4, 0.6], abs=1e-6)
    assert float((p * (p / q).log()).sum()) == pytest.approx(0.410076, abs=1e-6)


values = st.floats(-40, 40, allow_nan=False)
weights = st.floats(0.05, 8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(values, weights), min_size=1, max_size=9), values, st.floats(0.02, 1.5))
def test_apo_equals_the_printed_formula_and_its_closed_gradient(
    negatives: list[tuple[float, float]], h_plus: float, beta: float
) -> None:
    h, w = [h_plus, *(n[0] for n in negatives)], [n[1] for n in negatives]
    g = group([h], log_w_BK=log_w(*w))
    out = apo(g, beta=beta)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(slow_apo(h, w, beta), rel=1e-9, abs=1e-12)
    scale = sum(wu * math.exp(beta * (hu - h_plus)) for wu, hu in zip(w, h[1:], strict=True))
    q = [wu * math.exp(beta * (hu - h_plus)) / (1 + scale) for wu, hu in zip(w, h[1:], strict=True)]
    assert g.policy_BK.grad is not None
    assert g.policy_BK.grad[0].tolist() == pytest.approx([-beta * sum(q), *(beta * x for x in q)], rel=1e-7, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=2, max_size=8), st.floats(0.02, 1.0))
def test_unit_weights_are_s_dpo_between_its_bounds(h: list[float], beta: float) -> None:
    value = float(apo(group([h]), beta=beta).loss.detach())
    assert value == pytest.approx(slow_s_dpo(h, beta), rel=1e-7, abs=1e-9)
    pairs = [slow_dpo(h[0], x, beta) for x in h[1:]]
    assert max(pairs) - 1e-9 <= value <= sum(pairs) + 1e-9
    assert float(apo(group([h]), beta=beta, over_teachers="mean").loss.detach()) >= sum(pairs) / len(pairs) - 1e-9


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=3, max_size=8), st.randoms(use_true_random=False), values)
def test_order_of_teachers_and_a_common_shift_change_nothing(h: list[float], random: Any, shift: float) -> None:
    negatives = list(zip(h[1:], [0.5 + i for i in range(len(h) - 1)], strict=True))
    shuffled = random.sample(negatives, len(negatives))
    base = float(apo(group([h], log_w_BK=log_w(*(w for _, w in negatives)))).loss.detach())
    other = [h[0] + shift, *(x + shift for x, _ in shuffled)]
    moved = float(apo(group([other], log_w_BK=log_w(*(w for _, w in shuffled)))).loss.detach())
    assert moved == pytest.approx(base, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("name", ["apo", "dpo_pairs", "ipo", "simpo", "sft"])
def test_what_stands_under_the_mask_is_never_read(name: str) -> None:
    """Padding a group with a masked column, of any value, changes neither the loss nor a metric."""
    short = group([[1.0, -2.0, 0.5]], teacher_BK=torch.tensor([[-1, 0, 1]]), teachers=("a", "b"))
    for junk in (0.0, 1e6, math.nan):
        long = group(
            [[1.0, -2.0, 0.5, junk]],
            [[True, True, True, False]],
            teacher_BK=torch.tensor([[-1, 0, 1, 0]]),
            teachers=("a", "b"),
        )
        module = methods.get(name)
        one, two = module.loss(short, module.Hyper()), module.loss(long, module.Hyper())
        two.loss.backward()
        assert float(one.loss.detach()) == float(two.loss.detach())
        assert plain(one.metrics) == pytest.approx(plain(two.metrics), nan_ok=True)
        assert long.policy_BK.grad is not None
        assert long.policy_BK.grad[0, 3] == 0


def test_groups_with_missing_teachers() -> None:
    h = [[2.0, 0.0, -1.0, 1.0], [0.0, 1.0, 9.0, 9.0], [5.0, 9.0, 9.0, 9.0]]
    mask = [[True] * 4, [True, True, False, False], [True, False, False, False]]
    out = apo(group(h, mask))
    want = (slow_apo(THREE, [1.0] * 3, BETA) + slow_apo([0.0, 1.0], [1.0], BETA)) / 2
    assert float(out.loss.detach()) == pytest.approx(want)
    assert {k: int(out.metrics[k]) for k in ("groups", "groups_dropped", "negatives", "denominator")} == {
        "groups": 2,
        "groups_dropped": 1,
        "negatives": 4,
        "denominator": 2,
    }
    fixed = apo(group(h, mask), over_teachers="fixed")
    assert float(fixed.loss.detach()) == pytest.approx(slow_apo(THREE, [1.0] * 3, BETA))
    assert int(fixed.metrics["groups_dropped"]) == 2
    assert float(apo(group(h, mask), over_teachers="fixed", n_fixed=1).loss.detach()) == pytest.approx(want)
    zeros = apo(group([[0.0] * 4, [0.0] * 4], mask[:2]), over_teachers="mean")
    assert float(zeros.loss.detach()) == pytest.approx(math.log(2))


def test_no_group_left_is_an_error_not_a_zero() -> None:
    lonely = group([[1.0, 2.0]], [[True, False]])
    for name in ("apo", "dpo", "dpo_pairs", "ipo", "simpo"):
        with pytest.raises(DataError, match="no group"):
            run(name, lonely)
    with pytest.raises(DataError, match="no group"):
        apo(group([[1.0, 2.0]], log_w_BK=log_w(0.0)))
    with pytest.raises(DataError, match="no group"):
        apo(group([[1.0, 2.0, 3.0]]), over_teachers="fixed", n_fixed=7)
    with pytest.raises(DataError, match="no completion"):
        run("sft", group([[1.0]], [[False]]))


def test_pairwise_methods_against_slow_versions() -> None:
    h = [[2.0, 0.0, -1.0, 1.0], [0.5, 1.0, 0.0, 0.0]]
    mask = [[True] * 4, [True, True, False, False]]
    pairs = [(2.0, 0.0), (2.0, -1.0), (2.0, 1.0), (0.5, 1.0)]
    g = group(h, mask)
    assert run("dpo_pairs", g) == pytest.approx(sum(slow_dpo(p, n, BETA) for p, n in pairs) / 4)
    assert run("dpo_pairs", g, length_norm="mean") == pytest.approx(
        sum(slow_dpo(p / 5, n / 5, BETA) for p, n in pairs) / 4
    )
    assert run("ipo", g, length_norm="sum") == pytest.approx(sum((p - n - 5) ** 2 for p, n in pairs) / 4)
    assert run("ipo", g, beta=0.5) == pytest.approx(sum(((p - n) / 5 - 1) ** 2 for p, n in pairs) / 4)
    simpo = sum(math.log1p(math.exp(-(2.0 * (p - n) / 5 - 1.0))) for p, n in pairs) / 4
    assert run("simpo", g) == pytest.approx(simpo)
    with pytest.raises(DataError, match="one negative per group, up to 3"):
        run("dpo", g)


def test_sft_averages_over_tokens_or_completions() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    g = GroupLogps(torch.tensor([[-10.0, -3.0], [-4.0, 7.0]]), torch.tensor([[10, 1], [4, 9]]), mask)
    assert run("sft", g) == pytest.approx(17 / 15)
    assert run("sft", g, average="completions") == pytest.approx((1 + 3 + 1) / 3)


def test_length_norms() -> None:
    """LD discounts what stands beyond the shorter of the two; alpha 1 is the sum, alpha 0 cuts."""
    tokens = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.0, 0.0]]], dtype=torch.float64)
    on = torch.tensor([[[True] * 4, [True, True, False, False]]])
    n = on.sum(-1)
    g = GroupLogps(
        tokens.sum(-1),
        n,
        torch.ones(1, 2, dtype=torch.bool),
        torch.zeros(1, 2, dtype=torch.float64),
        token_policy_BKT=tokens,
        token_reference_BKT=torch.zeros_like(tokens),
        token_mask_BKT=on,
    )
    for alpha, plus in ((1.0, 4.0), (0.5, 3.0), (0.0, 2.0)):
        assert float(apo(g, length_norm="ld", ld_alpha=alpha).loss) == pytest.approx(slow_dpo(plus, 1.0, BETA))
    assert float(apo(g, length_norm="mean").loss) == pytest.approx(slow_dpo(1.0, 0.5, BETA))
    with pytest.raises(DataError, match="token log-probabilities"):
        apo(group([THREE]), length_norm="ld")
    assert methods.needs("apo", methods.get("apo").Hyper(length_norm="ld")) == {"reference", "tokens"}
    assert methods.needs("apo", methods.get("apo").Hyper()) == {"reference"}


def test_anchor_pulls_the_positive_up() -> None:
    g = group([THREE])
    out = apo(g, nll_weight=0.5)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(1.242536 + 0.5 * -2.0 / 5, abs=1e-6)
    assert g.policy_BK.grad is not None
    assert float(g.policy_BK.grad.sum()) == pytest.approx(-0.5 / 5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_anchor_of_every_pair_is_that_of_one_group(weight: float) -> None:
    one = group([THREE[:2]])
    settings = {"beta": BETA, "nll_weight": weight}
    whole = [methods.get(n).loss(one, methods.get(n).Hyper(**settings)).loss for n in ("apo", "dpo", "dpo_pairs")]
    assert [float(v.detach()) for v in whole] == pytest.approx([float(whole[0].detach())] * 3)
    many, bare = (
        methods.get("dpo_pairs").loss(group([THREE]), methods.get("dpo_pairs").Hyper(beta=BETA, nll_weight=w)).loss
        for w in (weight, 0.0)
    )
    assert float((many - bare).detach()) == pytest.approx(weight * -2.0 / 5, abs=1e-6)


def test_bf16_sums_are_taken_to_float32() -> None:
    h = torch.tensor([[-300.0, -300.5, -301.0]])
    mask = torch.ones_like(h, dtype=torch.bool)
    g = GroupLogps(h.bfloat16(), mask.long(), mask, h.bfloat16())
    out = apo(g)
    assert out.loss.dtype == torch.float32
    assert float(out.loss) == pytest.approx(math.log(3), abs=1e-6)


def test_metrics_name_each_teacher() -> None:
    g = group([[2.0, 0.0, 3.0]], teacher_BK=torch.tensor([[-1, 0, 2]]), teachers=("grok-4", "gpt-5", "moonshot"))
    m = {k: float(v) for k, v in apo(g).metrics.items()}
    assert m["rewards/chosen"] == pytest.approx(0.2)
    assert m["rewards/rejected/moonshot"] == pytest.approx(0.3)
    assert m["rewards/accuracies"] == 0.5
    assert m["rewards/accuracies_all"] == 0
    assert m["rewards/margins"] == pytest.approx(0.05)
    assert "logps/rejected/gpt-5" not in m
    assert m["q/chosen"] + m["q/grok-4"] + m["q/moonshot"] == pytest.approx(1)


def test_short_form() -> None:
    h, mask = torch.tensor([THREE]), torch.ones(1, 4, dtype=torch.bool)
    assert float(align.group_loss("apo", h, mask).loss) == pytest.approx(1.242536, abs=1e-6)
    assert float(align.group_loss("apo", h, mask, log_w_BK=log_w(1, 0, 1)).loss) == pytest.approx(1.001943, abs=1e-6)
    assert float(align.group_loss("ipo", h, mask, beta=0.5).loss) == pytest.approx((1 + 4 + 0) / 3)
    with pytest.raises(UsageError, match="no loss of log-ratios"):
        align.group_loss("simpo", h, mask)


def test_names() -> None:
    assert methods.REGISTRY.own() == ("apo", "dpo", "dpo_pairs", "ipo", "sft", "simpo")
    for name in methods.names():
        module = methods.get(name)
        assert name == module.NAME
        assert dataclasses.is_dataclass(module.Hyper)
        assert set(module.NEEDS) <= {"reference", "tokens", "steps"}
    with pytest.raises(UnknownNameError, match="dpo_pairs"):
        methods.get("orpo")


@pytest.mark.parametrize("name", ["apo_zero", "apo_down"])
def test_the_other_apo_is_explained(name: str) -> None:
    with pytest.raises(UsageError, match="Anchored Preference Optimization") as caught:
        methods.get(name)
    assert "Autonomous Preference Optimization" in str(caught.value)
    assert "DPOTrainer" in caught.value.next


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("apo", {"beta": 0.0}),
        ("apo", {"beta": math.nan}),
        ("apo", {"over_teachers": "max"}),
        ("apo", {"length_norm": "max"}),
        ("apo", {"ld_alpha": 1.5}),
        ("apo", {"nll_weight": -1.0}),
        ("apo", {"n_fixed": 0}),
        ("dpo", {"length_norm": "ld"}),
        ("dpo_pairs", {"nll_weight": math.inf}),
        ("ipo", {"beta": -1.0}),
        ("simpo", {"gamma": -0.5}),
        ("sft", {"average": "studies"}),
    ],
)
def test_settings_outside_what_is_allowed(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        methods.get(name).Hyper(**setting)


def test_a_group_of_the_wrong_shape_says_so() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(DataError, match=r"mask_BK has shape \(2, 3\)"):
        GroupLogps(torch.zeros(2, 4), torch.ones(2, 4).long(), mask)
    with pytest.raises(DataError, match=r"allowed: torch\.bool"):
        GroupLogps(torch.zeros(2, 3), mask.long(), mask.long())
    with pytest.raises(DataError, match="reference"):
        apo(GroupLogps(torch.zeros(2, 3), mask.long(), mask))
    with pytest.raises(DataError, match="groups, completions"):
        GroupLogps(torch.zeros(3), torch.ones(3).long(), torch.ones(3, dtype=torch.bool))


def test_gradients_by_finite_differences() -> None:
    """All methods at once, against numerical derivatives in float64."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    n = torch.tensor([[3, 5, 2], [4, 4, 1]])

    for name in ("apo", "dpo_pairs", "ipo", "simpo", "sft"):
        module = methods.get(name)

        def f(h: torch.Tensor, module: Any = module) -> torch.Tensor:
            value: torch.Tensor = module.loss(GroupLogps(h, n, mask, torch.zeros_like(h)), module.Hyper()).loss
            return value

        h = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        assert torch.autograd.gradcheck(f, (h,))


def test_a_step_of_accumulation_equals_one_batch() -> None:
    """loss * denominator summed over micro-batches, over all denominators, is the loss of the whole batch."""
    h = [[2.0, 0.0, -1.0, 1.0], [0.5, 1.0, 0.0, 0.0], [1.0, 1.0, 3.0, 0.0]]
    mask = [[True] * 4, [True, True, False, False], [True, True, True, False]]
    for name in ("apo", "dpo_pairs", "ipo", "simpo", "sft"):
        module = methods.get(name)
        whole = module.loss(group(h, mask), module.Hyper())
        parts = [module.loss(group(h[i:j], mask[i:j]), module.Hyper()) for i, j in pairwise((0, 1, 3))]
        total = sum(float(p.loss.detach() * p.metrics["denominator"]) for p in parts)
        count = sum(float(p.metrics["denominator"]) for p in parts)
        assert total / count == pytest.approx(float(whole.loss.detach()))


def test_plackett_luce_without_negatives_is_zero_and_certain() -> None:
    loss_B, q_BN = losses.plackett_luce_first(torch.full((1, 2), math.nan), torch.zeros(1, 2, dtype=torch.bool))
    assert loss_B.tolist() == [0.0]
    assert q_BN.tolist() == [[0.0, 0.0]]
