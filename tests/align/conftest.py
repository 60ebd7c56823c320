"""Small random models of real architectures, and rendered groups made of random tokens."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from cxr_max.align.types import RenderedGroup
from tests import tiny_world

IMAGE, VOCABULARY = 300, 320
HIDDEN = 32


def vision_model(**text: Any) -> Any:
    """A random Qwen2.5-VL in float32, 2 + 2 layers, vocabulary of 320."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    settings = {
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCABULARY,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
    }
    config = Qwen2_5_VLConfig(
        text_config=settings | text,
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE, video_token_id=301, vision_start_token_id=302, vision_end_token_id=303,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    # Small random weights give nearly uniform outputs, which would hide an error in who sees whom.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.float().eval()


def text_model() -> Any:
    """A random Llama, whose rotary embedding has one coordinate."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCABULARY,
    )  # fmt: skip
    return LlamaForCausalLM(config).float().eval()


def rendered(
    lengths: Sequence[int], *, question: int = 5, grid: tuple[int, int] | None = (4, 6), seed: int = 0, **kw: Any
) -> RenderedGroup:
    """A group of random tokens; `grid` is the image's size in patches of 14 pixels, None for no image."""
    g = torch.Generator().manual_seed(seed)

    def words(n: int) -> torch.Tensor:
        return torch.randint(0, 290, (n,), generator=g)

    pixels = {}
    prefix = [words(3)]
    if grid:
        image = torch.full((grid[0] * grid[1] // 4,), IMAGE)
        prefix += [torch.tensor([302]), image, torch.tensor([303])]
        pixels = {
            "pixel_values": torch.randn(grid[0] * grid[1], 3 * 2 * 14 * 14, generator=g),
            "image_grid_thw": torch.tensor([[1, *grid]]),
        }
    prefix.append(words(question))
    return RenderedGroup(
        instance_id=f"i{seed}",
        prefix_ids_P=torch.cat(prefix),
        completion_ids=tuple(words(n) for n in lengths),
        scored=tuple(torch.ones(n, dtype=torch.bool) for n in lengths),
        sources=("vote", *(f"teacher-{k}" for k in range(1, len(lengths)))),
        pixels=pixels,
        image_key=f"image-{seed}" if grid else "",
        **kw,
    )


@pytest.fixture(scope="session")
def shared_model() -> Any:
    """One random Qwen2.5-VL for tests that leave its weights alone."""
    return vision_model()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_world.Tiny:
    """A synthetic release with images."""
    return tiny_world.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def stages(tiny: tiny_world.Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Results of supervised training and of the preference stage behind it; tests leave their folders alone."""
    from cxr_max import align

    out = tmp_path_factory.mktemp("stages")
    first = align.train(tiny_world.stage(tiny, out / "sft"))
    return first, align.train(tiny_world.preferences(tiny, out / "apo", first.folder))
