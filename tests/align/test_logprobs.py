"""Packed log-probabilities and gradients equal those of every completion scored by itself."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from cxr_max.align import features, logprobs, methods, pack
from cxr_max.align.attention import KINDS
from cxr_max.align.reference import fingerprint
from cxr_max.align.types import RenderedGroup
from cxr_max.errors import CheckFailedError, DataError, UsageError
from tests.align.conftest import IMAGE, VOCABULARY, rendered, text_model, vision_model

CPU_KINDS = ("tree", "dense")


def groups() -> list[RenderedGroup]:
    """Different numbers and lengths of completions, images of different shapes, one group without an image."""
    return [
        rendered([7, 3, 12, 1], seed=1),
        rendered([2, 9], seed=2, grid=(6, 4), question=11),
        rendered([4, 4, 4], seed=3, grid=None),
    ]


def gradients(model: Any, group: Any) -> dict[str, Tensor]:
    """Gradients of a loss that reads every completion of every group with another weight."""
    model.zero_grad()
    module = methods.get("apo")
    loss = module.loss(group.with_reference(group.policy_BK.detach() * 0.9), module.Hyper(beta=0.5)).loss
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    assert one
    for name in one:
        scale = max(float(one[name].norm()), 1e-6)
        assert float((one[name] - two[name]).norm()) <= 1e-4 * scale, name


@pytest.mark.parametrize("layout", pack.LAYOUTS)
@pytest.mark.parametrize("kind", CPU_KINDS)
def test_equal_to_the_unshared_forward(kind: str, layout: str, shared_model: Any) -> None:
    want = logprobs.naive_logps(shared_model, groups())
    got = logprobs.packed_logps(shared_model, pack.pack(groups(), layout=layout), attention=kind)
    for name in ("policy_BK", "token_policy_BKT"):
        assert float((getattr(got, name) - getattr(want, name)).abs().max().detach()) < 1e-5
    for name in ("n_tokens_BK", "mask_BK", "teacher_BK", "token_mask_BKT"):
        assert torch.equal(getattr(got, name), getattr(want, name))
    assert float(want.policy_BK.detach().std()) > 1, "outputs so uniform would hide a wrong mask"


@pytest.mark.parametrize("kind", CPU_KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_those_of_the_unshared_forward(kind: str, checkpointing: bool) -> None:
    model = vision_model()
    batch = pack.pack(groups(), layout="flat" if kind == "tree" else "rows")
    want = gradients(model, logprobs.naive_logps(model, groups()))
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable()
    got = gradients(model, logprobs.packed_logps(model, batch, attention=kind))
    assert_same_gradients(want, got)
    assert any("visual" in name for name in want), "the vision tower trains here and gets its gradient too"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_with_lora(checkpointing: bool) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        vision_model(), LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    off = logprobs.naive_logps(model.get_base_model(), groups()).policy_BK.detach()
    want = gradients(model, logprobs.naive_logps(model, groups()))
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    packed = logprobs.packed_logps(model, pack.pack(groups(), layout="flat"))
    assert_same_gradients(want, gradients(model, packed))
    assert all("lora" in name for name in want)
    with model.disable_adapter(), torch.no_grad():
        reference = logprobs.packed_logps(model, pack.pack(groups(), layout="flat")).policy_BK
        naive = logprobs.naive_logps(model, groups()).policy_BK
    assert float((reference - naive).abs().max()) < 1e-5
    assert float((reference - off).abs().max()) > 0.1, "the adapter did nothing, the test would not see it"


@pytest.mark.parametrize("kind", CPU_KINDS)
def test_a_text_model_with_one_rotary_coordinate(kind: str) -> None:
    model = text_model()
    texts = [rendered([5, 2, 8], seed=4, grid=None), rendered([3, 3], seed=5, grid=None, question=9)]
    want, got = logprobs.naive_logps(model, texts), logprobs.packed_logps(model, pack.pack(texts), attention=kind)
    assert float((want.policy_BK - got.policy_BK).abs().max().detach()) < 1e-5


@pytest.mark.slow
def test_flex_attention_equals_the_dense_path_without_a_gradient(shared_model: Any) -> None:
    """On CPU only its forward runs, after half a minute of compiling; on GPUs it is the path taken."""
    batch = pack.pack([rendered([7, 3, 12], seed=1)])
    with torch.no_grad():
        got = logprobs.packed_logps(shared_model, batch, attention="flex")
        want = logprobs.packed_logps(shared_model, batch, attention="dense")
    assert float((got.policy_BK - want.policy_BK).abs().max()) < 1e-4


def test_a_branch_is_deaf_to_its_neighbours(shared_model: Any) -> None:
    """Changing, dropping or reordering one completion leaves the others' log-probabilities alone."""
    base = rendered([6, 4, 5], seed=8)
    other = rendered([6, 9, 5], seed=9).completion_ids[1]

    def run(*ids: Tensor) -> Tensor:
        g = RenderedGroup(
            "i", base.prefix_ids_P, ids, tuple(torch.ones(len(i), dtype=torch.bool) for i in ids), ("a",) * len(ids),
            pixels=base.pixels, image_key=base.image_key,
        )  # fmt: skip
        with torch.no_grad():
            return logprobs.packed_logps(shared_model, pack.pack([g])).policy_BK[0]

    a, b, c = base.completion_ids
    whole = run(a, b, c)
    assert run(a, other, c)[[0, 2]].tolist() == pytest.approx(whole[[0, 2]].tolist(), abs=1e-5)
    assert run(a, c).tolist() == pytest.approx(whole[[0, 2]].tolist(), abs=1e-5)
    assert run(c, a, b).tolist() == pytest.approx(whole[[2, 0, 1]].tolist(), abs=1e-5)


def test_generation_is_unchanged_once_the_model_has_been_packed() -> None:
    fresh, used = vision_model(), vision_model()
    logprobs.packed_logps(used, pack.pack(groups()))
    g = groups()[0]
    inputs = {
        "input_ids": g.prefix_ids_P[None],
        "attention_mask": torch.ones_like(g.prefix_ids_P[None]),
        "mm_token_type_ids": (g.prefix_ids_P[None] == IMAGE).int(),
        **g.pixels,
    }
    one, two = (m.generate(**inputs, max_new_tokens=8, do_sample=False) for m in (fresh, used))
    assert torch.equal(one, two)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_chunks_of_the_vocabulary_change_nothing(rows: int) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=False).double()
    hidden = torch.randn(10, 16, dtype=torch.double, requires_grad=True)
    target = torch.randint(0, 50, (10,))
    whole = head(hidden).float().log_softmax(-1).gather(-1, target[:, None])[:, 0]
    whole.sum().backward()
    want = hidden.grad.clone(), head.weight.grad.clone()
    hidden.grad = head.weight.grad = None
    got = logprobs.token_logps(head, hidden, target, logits_bytes=rows * 4 * 50)
    got.sum().backward()
    assert got.detach().tolist() == pytest.approx(whole.detach().tolist(), abs=1e-6)
    assert torch.allclose(hidden.grad, want[0], atol=1e-6)
    assert torch.allclose(head.weight.grad, want[1], atol=1e-6)


def test_logits_of_the_group_are_never_whole_in_memory() -> None:
    """The largest tensor autograd keeps, and the largest any operation makes, stay below a chunk."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            seen.append(out.numel() if isinstance(out, Tensor) else 0)
            return out

    head = torch.nn.Linear(8, 5000, bias=False).requires_grad_(False)
    hidden = torch.randn(400, 8, requires_grad=True)
    with Largest():
        logprobs.token_logps(
            head, hidden, torch.zeros(400, dtype=torch.long), logits_bytes=20 * 4 * 5000
        ).sum().backward()
    assert max(seen) == 20 * 5000


def test_bf16_models_score_in_float32() -> None:
    """The loss sees float32, near the value of the same weights in float32."""
    model = vision_model().bfloat16()
    got = logprobs.packed_logps(model, pack.pack(groups()))
    assert got.policy_BK.dtype == torch.float32
    module = methods.get("apo")
    out = module.loss(got.with_reference(got.policy_BK.detach()), module.Hyper())
    assert out.loss.dtype == torch.float32
    out.loss.backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.bfloat16}
    want = logprobs.naive_logps(copy.deepcopy(model).float(), groups())
    assert float(((got.policy_BK - want.policy_BK) / want.n_tokens_BK.clamp(min=1)).abs().max().detach()) < 0.1


def store_of(model: Any, folder: Any) -> features.FeatureStore:
    return features.FeatureStore(fingerprint(model.model.visual), folder, synthetic=True)


def test_an_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vision_model()
    calls: list[int] = []
    encode = type(model).get_image_features

    def counted(self: Any, pixel_values: Tensor, **kw: Any) -> Any:
        calls.append(len(kw["image_grid_thw"]))
        return encode(self, pixel_values, **kw)

    monkeypatch.setattr(type(model), "get_image_features", counted)
    same = [rendered([2, 3], seed=1), rendered([4], seed=1), rendered([4], seed=2)]
    logprobs.packed_logps(model, pack.pack(same))
    assert calls == [2]


def test_features_of_a_frozen_tower_are_kept(tmp_path: Any) -> None:
    model = vision_model()
    model.model.visual.requires_grad_(False)
    assert features.is_frozen(model)
    batch = pack.pack(groups())
    store = store_of(model, tmp_path)
    first = logprobs.packed_logps(model, batch, store=store).policy_BK
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    again = store_of(model, tmp_path)
    with torch.no_grad():
        model.model.visual.patch_embed.proj.weight.zero_()
    assert torch.equal(logprobs.packed_logps(model, batch, store=again).policy_BK, first), "read from disk"
    other = store_of(model, tmp_path)
    changed = logprobs.packed_logps(model, batch, store=other).policy_BK
    assert not torch.allclose(changed, first), "another tower has another key"
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with torch.no_grad():
        model.model.visual.patch_embed.proj.weight.zero_()
    with pytest.raises(DataError, match="damaged"):
        logprobs.packed_logps(model, batch, store=store_of(model, tmp_path))


def test_a_tower_that_trains_never_touches_the_store(tmp_path: Any) -> None:
    model = vision_model()
    assert not features.is_frozen(model)
    logprobs.packed_logps(model, pack.pack(groups()), store=store_of(model, tmp_path))
    assert not list(tmp_path.iterdir())


def test_wrong_use(shared_model: Any) -> None:
    with pytest.raises(UsageError, match=", ".join(KINDS)):
        logprobs.packed_logps(shared_model, pack.pack(groups()), attention="sparse")
    lost = rendered([3], seed=1)
    object.__setattr__(lost, "prefix_ids_P", lost.prefix_ids_P[lost.prefix_ids_P != IMAGE])
    with pytest.raises(DataError, match="0 image tokens for 6 image features"):
        logprobs.packed_logps(shared_model, pack.pack([lost]))
    sliding = vision_model(use_sliding_window=True, sliding_window=4, max_window_layers=0)
    with pytest.raises(UsageError, match="sliding_attention"):
        logprobs.packed_logps(sliding, pack.pack(groups()))


def test_what_is_not_scored_enters_no_sum(shared_model: Any) -> None:
    g = rendered([6, 4], seed=1)
    partly = rendered([6, 4], seed=1, weights=(0.5,), steps=(torch.arange(6), torch.full((4,), -1)))
    object.__setattr__(partly, "scored", (torch.tensor([True] * 3 + [False] * 3), torch.ones(4, dtype=torch.bool)))
    with torch.no_grad():
        whole = logprobs.packed_logps(shared_model, pack.pack([g]))
        part = logprobs.packed_logps(shared_model, pack.pack([partly]))
    assert float(part.policy_BK[0, 0]) == pytest.approx(float(whole.token_policy_BKT[0, 0, :3].sum()), abs=1e-5)
    assert part.n_tokens_BK.tolist() == [[3, 4]]
    assert part.log_w_BK is not None
    assert float(part.log_w_BK[0, 1]) == pytest.approx(-0.693147, abs=1e-5)
    assert part.step_BKT is not None
    assert part.step_BKT[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert part.teachers == ("teacher-1", "vote")


def test_a_model_that_does_not_fit_is_caught(shared_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is right passes; one whose tokens stand elsewhere does not."""
    assert logprobs.verify_exact(shared_model, groups()) < 1e-5

    def ahead(*args: Any, **kw: Any) -> Any:
        found = prefix_positions(*args, **kw)
        return found.flip(-1)

    prefix_positions = logprobs.prefix_positions
    monkeypatch.setattr(logprobs, "prefix_positions", ahead)
    with pytest.raises(CheckFailedError, match="Qwen2_5_VLForConditionalGeneration differ by"):
        logprobs.verify_exact(shared_model, groups())


def test_models_that_cannot_share_a_prefix_are_refused(shared_model: Any) -> None:
    from peft import PromptTuningConfig, get_peft_model
    from transformers import Gemma2Config, Gemma2ForCausalLM

    virtual = get_peft_model(text_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(UsageError, match="virtual tokens"):
        logprobs.packed_logps(virtual, pack.pack([rendered([3], grid=None)]))
    capped = Gemma2ForCausalLM(
        Gemma2Config(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
            head_dim=16, vocab_size=VOCABULARY, final_logit_softcapping=0.05, layer_types=["full_attention"] * 2,
            attn_logit_softcapping=None,
        )
    ).eval()  # fmt: skip
    with pytest.raises(CheckFailedError, match="Gemma2ForCausalLM"):
        logprobs.verify_exact(capped, [rendered([5, 3], grid=None)])
