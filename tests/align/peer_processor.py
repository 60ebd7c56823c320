"""Run by the interpreter of a peer's environment: what transformers' own processor makes of texts and images.

    python -m tests.align.peer_processor TOKENIZER_FOLDER CASES.json OUT.safetensors

A case is {"text", "image"}: a text with one placeholder per image, and the image's path. Pixels are written by both
image processors: the one on torchvision, which the processor takes by itself, and the one on Pillow.
"""

import json
import sys
from pathlib import Path

from benchmarks.peer_env import ensure_torchvision


def main(folder: str, cases: str, out: str) -> None:
    if not ensure_torchvision():
        sys.exit("torchvision is missing")
    from PIL import Image
    from safetensors.torch import save_file
    from transformers import (
        AutoTokenizer,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLImageProcessorPil,
        Qwen2VLVideoProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tensors = {}
    limits = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 64}
    for name, kind in (("torchvision", Qwen2VLImageProcessor), ("pil", Qwen2VLImageProcessorPil)):
        processor = Qwen2_5_VLProcessor(
            image_processor=kind(**limits), tokenizer=tokenizer, video_processor=Qwen2VLVideoProcessor(),
            chat_template=tokenizer.chat_template,
        )  # fmt: skip
        for i, case in enumerate(json.loads(Path(cases).read_text())):
            made = processor(text=[case["text"]], images=[Image.open(case["image"])], return_tensors="pt")
            tensors |= {f"{name}/{i}/{k}": v.contiguous() for k, v in made.items()}
            chat = processor.apply_chat_template(case["messages"], tokenize=False, add_generation_prompt=True)
            whole = processor(text=[chat], images=[Image.open(case["image"])], return_tensors="pt")
            tensors[f"{name}/{i}/prefix_ids"] = whole["input_ids"].contiguous()
    save_file(tensors, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
