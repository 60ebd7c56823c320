"""From text to loss and back: another vision-language model by its whole processor, supervised packing, own methods."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cxr_max.align import logprobs, methods, pack, reference, render
from cxr_max.align.types import PreferenceGroup
from cxr_max.errors import UsageError
from tests.align import small_models
from tests.align.conftest import rendered, vision_model

TEXTS = ("There is a small left effusion.", "No effusion.", "The right side shows a large pleural effusion, likely.")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random LLaVA and its processor: another vision tower, other placeholders, one rotary coordinate."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processors: Any = AutoProcessor
    folder = small_models.llava(tmp_path_factory.mktemp("llava"))
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), processors.from_pretrained(folder)


def picture(folder: Path) -> str:
    path = folder / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 40), dtype=np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("template", ["rationale", "diagnose"])
def test_another_model_by_its_whole_processor(template: str, llava: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = llava
    renderer = render.Renderer(processor.tokenizer, template, processor=processor)
    out = renderer.render_all(
        [
            PreferenceGroup("a", ("Edema",), TEXTS, ("vote", "x", "y"), image=picture(tmp_path)),
            PreferenceGroup("b", ("Edema",), TEXTS[:2], ("vote", "x")),
        ]
    )
    assert out.dropped == {}
    assert [int((g.prefix_ids_P == renderer.image_token_id).sum()) for g in out.groups] == [4, 0]
    want = logprobs.naive_logps(model, out.groups)
    got = logprobs.packed_logps(model, pack.pack(out.groups, layout="flat"))
    assert float((got.policy_BK - want.policy_BK).abs().max().detach()) < 1e-5
    assert torch.equal(got.n_tokens_BK, want.n_tokens_BK)
    module = methods.get("apo")
    known = reference.reference_logps(model, pack.pack(out.groups), reference=model)
    loss = module.loss(reference.with_reference(got, known), module.Hyper()).loss
    assert float(loss.detach()) == pytest.approx((np.log(3) + np.log(2)) / 2, abs=1e-4)


def test_supervised_packing_equals_a_batch_of_trajectories() -> None:
    """Seven trajectories in one sequence: the loss and gradients of seven sequences."""
    model = vision_model()
    seven = rendered([5, 9, 2, 7, 3, 4, 6], seed=3)
    module = methods.get("sft")
    model.zero_grad()
    separate = module.loss(logprobs.naive_logps(model, [seven]), module.Hyper())
    separate.loss.backward()
    want = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    together = module.loss(logprobs.packed_logps(model, pack.pack([seven])), module.Hyper())
    together.loss.backward()
    assert float(together.loss.detach()) == pytest.approx(float(separate.loss.detach()), abs=1e-5)
    assert int(together.metrics["tokens"]) == 36
    for name, parameter in model.named_parameters():
        if name in want:
            assert float((parameter.grad - want[name]).norm()) <= 1e-4 * max(float(want[name].norm()), 1e-6), name


def test_a_few_steps_pull_the_positive_above_the_negatives() -> None:
    """The whole engine, APO against a frozen copy, on two groups."""
    torch.manual_seed(0)
    policy, frozen = vision_model().train(), vision_model()
    batch = pack.pack([rendered([6, 4, 5], seed=1), rendered([3, 7], seed=2)], layout="flat")
    known = reference.reference_logps(policy, batch, reference=frozen)
    module = methods.get("apo")
    optimizer = torch.optim.SGD(policy.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        out = module.loss(reference.with_reference(logprobs.packed_logps(policy, batch), known), module.Hyper())
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
    assert losses[0] == pytest.approx((np.log(3) + np.log(2)) / 2, abs=1e-4)
    assert losses == sorted(losses, reverse=True)
    assert float(out.metrics["rewards/margins"]) > 0


METHOD = '''"""Hinge on the margin of rewards."""
from dataclasses import dataclass
from cxr_max.align.losses import margins, pair_loss, reward_metrics, valid_negatives
from cxr_max.align.types import LossOutput

NAME, NEEDS = "hinge", {"reference"}

@dataclass(frozen=True)
class Hyper:
    beta: float = 0.1

def loss(group, hyper):
    valid = valid_negatives(group)
    mean, keep = pair_loss((1 + hyper.beta * margins(group, "sum")).clamp(min=0), valid)
    return LossOutput(mean, reward_metrics(group, valid, keep, hyper.beta))
'''


def test_a_method_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "hinge.py"
    path.write_text(METHOD)
    module = methods.get(str(path))
    assert methods.needs(str(path), module.Hyper()) == {"reference"}
    h = torch.tensor([[2.0, 0.0, 30.0]])
    mask = torch.ones_like(h, dtype=torch.bool)
    group = logprobs.GroupLogps(h, mask.long(), mask, torch.zeros_like(h))
    assert float(module.loss(group, module.Hyper()).loss) == pytest.approx((0.8 + 3.8) / 2)
    path.write_text(METHOD.replace("NEEDS", "WANTS"))
    with pytest.raises(UsageError, match="does not define NEEDS"):
        methods.get(str(path))
