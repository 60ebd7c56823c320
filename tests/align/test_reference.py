"""Reference log-probabilities: from the adapter-off model or another one, cached on disk, never another model's."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_max.align import logprobs, methods, pack, reference
from cxr_max.align.reference import ReferenceCache, ReferenceKey
from cxr_max.align.types import RenderedGroup
from cxr_max.errors import DataError, RestrictedDataError, UsageError
from tests.align.conftest import rendered, vision_model

KEY = ReferenceKey("model@abc", "float32", processor={"max_pixels": 50176}, template="rationale")


def groups() -> list[RenderedGroup]:
    return [rendered([4, 7, 2], seed=1), rendered([3, 3], seed=2)]


def with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_dropout=0.5, target_modules=r".*language_model.*\.(q|v)_proj")
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return wrapped


def test_the_reference_of_an_adapter_is_the_model_without_it() -> None:
    plain, tuned = vision_model(), with_lora(vision_model()).train()
    batch = pack.pack(groups())
    want = logprobs.naive_logps(plain, groups())
    got = reference.reference_logps(tuned, batch)
    assert float((got.policy_BK - want.policy_BK).abs().max().detach()) < 1e-5
    assert not got.policy_BK.requires_grad
    assert tuned.training, "the mode of the policy is put back"
    policy = logprobs.packed_logps(tuned, batch)
    assert float((policy.policy_BK - want.policy_BK).abs().max().detach()) > 0.1
    module = methods.get("apo")
    out = module.loss(reference.with_reference(policy, got), module.Hyper(length_norm="ld"))
    out.loss.backward()
    assert torch.isfinite(out.loss)


def test_the_cache_answers_without_the_model(tmp_path: Path) -> None:
    model = with_lora(vision_model())
    cache = ReferenceCache(tmp_path, KEY, synthetic=True)
    batch = pack.pack(groups(), layout="flat")
    first = reference.reference_logps(model, batch, cache=cache)
    assert len(cache) == 5
    again = ReferenceCache(tmp_path, KEY, synthetic=True)
    second = reference.reference_logps(None, batch, cache=again)
    for name in ("policy_BK", "n_tokens_BK", "mask_BK", "token_policy_BKT"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_only_what_is_missing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(vision_model())
    cache = ReferenceCache(tmp_path, KEY, synthetic=True)
    reference.reference_logps(model, pack.pack(groups()[:1]), cache=cache)
    seen: list[int] = []
    forward = reference.packed_logps

    def counted(m: Any, batch: pack.PackedBatch, **kw: Any) -> Any:
        seen.append(len(batch.groups))
        return forward(m, batch, **kw)

    monkeypatch.setattr(reference, "packed_logps", counted)
    got = reference.reference_logps(model, pack.pack([groups()[1], groups()[0]]), cache=cache)
    assert seen == [1]
    want = reference.reference_logps(model, pack.pack([groups()[1], groups()[0]]))
    assert float((got.policy_BK - want.policy_BK).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "model@def"}, "model"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"adapter": "sft-1"}, "adapter"),
        ({"processor": {"max_pixels": 3136}}, "processor"),
        ({"template": "diagnose"}, "template"),
        ({"engine": 0}, "engine"),
        ({"model": "x", "dtype": "y"}, "dtype, model"),
    ],
)
def test_another_reference_is_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    ReferenceCache(tmp_path, KEY, synthetic=True)
    ReferenceCache(tmp_path, replace(KEY), synthetic=True)
    with pytest.raises(DataError, match=f"another reference's: {named} differ"):
        ReferenceCache(tmp_path, replace(KEY, **change), synthetic=True)


def test_every_input_is_part_of_the_row(tmp_path: Path) -> None:
    """Another image, prompt, completion, truncation or score mask finds nothing."""
    base = rendered([4, 7], seed=1)
    cache = ReferenceCache(tmp_path, KEY, synthetic=True)
    cache.put(base, [torch.zeros(4), torch.zeros(7)])
    assert cache.get(base) is not None
    assert cache.get(replace(base, instance_id="other", sources=("a", "b"), weights=(2.0,))) is not None
    a, b = base.completion_ids
    on = base.scored
    changed = [
        replace(base, image_key="another image"),
        replace(base, prefix_ids_P=base.prefix_ids_P.flip(0)),
        replace(base, completion_ids=(a, b.flip(0))),
        replace(base, completion_ids=(a, b[:-1]), scored=(on[0], on[1][:-1])),
        replace(base, scored=(on[0], torch.tensor([False] + [True] * 6))),
    ]
    assert [cache.get(g) for g in changed] == [None] * len(changed)
    swapped = cache.get(replace(base, completion_ids=(b, a), scored=(on[1], on[0])))
    assert swapped is not None
    assert [len(x) for x in swapped] == [7, 4]


def test_a_policy_is_not_its_own_reference() -> None:
    model = vision_model()
    with pytest.raises(UsageError, match="no adapter to disable"):
        reference.reference_logps(model, pack.pack(groups()))
    other = vision_model()
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    got = reference.reference_logps(model, pack.pack(groups()), reference=other)
    assert float((got.policy_BK - logprobs.naive_logps(other, groups()).policy_BK).abs().max().detach()) < 1e-5


def test_damage_is_an_error_not_a_number(tmp_path: Path) -> None:
    base = rendered([4, 7], seed=1)
    cache = ReferenceCache(tmp_path, KEY, synthetic=True)
    cache.put(base, [torch.zeros(4), torch.zeros(7)])
    with sqlite3.connect(tmp_path / "reference.sqlite") as db:
        db.execute("UPDATE logps SET tokens = ?", (b"\0" * 8,))
    with pytest.raises(DataError, match="damaged"):
        cache.get(base)
    (tmp_path / "reference.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        cache.get(base)


def test_real_data_stay_out_of_git(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError):
        ReferenceCache(tmp_path / "cache", KEY)
    ReferenceCache(tmp_path / "cache", KEY, synthetic=True)


def test_fingerprints_tell_models_apart() -> None:
    one, same, other = vision_model(), vision_model(), vision_model()
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1e-3
    assert reference.fingerprint(one) == reference.fingerprint(same) != reference.fingerprint(other)
    assert reference.fingerprint(one) != reference.fingerprint(vision_model().bfloat16())
