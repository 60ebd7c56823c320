"""Run by the interpreter of the environment `trl`: an exported file goes into TRL's DPOTrainer as it is.

python -m tests.data.peer_dpo TOKENIZER_FOLDER PAIRS.parquet OUT
"""

import copy
import json
import sys

from benchmarks.peer_env import ensure_torchvision


def main(folder: str, pairs: str, out: str) -> None:
    if not ensure_torchvision():
        sys.exit("torchvision is missing")
    import torch
    from datasets import load_dataset
    from transformers import (
        AutoTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {
        n: tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 16),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    rows = load_dataset("parquet", data_files=pairs, split="train", cache_dir=f"{out}/cache")
    model = Qwen2_5_VLForConditionalGeneration(config)
    trainer = DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=DPOConfig(
            output_dir=out, max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
            logging_steps=1, save_strategy="no", gradient_checkpointing=False, learning_rate=1e-2, max_length=None,
        ),
        train_dataset=rows,
        processing_class=processor,
    )  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(json.dumps({"rows": len(rows), "image": list(rows[0]["images"][0].size), "losses": losses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
