"""One contestant of `benchmarks.engine_vs_trl`, in a process of its own so that its peak memory is its own.

    python -m benchmarks._engine_contestants NAME FOLDER OUT.json

Run by the interpreter of the peer's environment, where torch and transformers are the same for both sides. FOLDER
holds the model's configuration, the tokenizer, the image, the rows of text and the rendered group, all written by the
benchmark; every contestant trains the same model from the same seed on the same group.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peer_env import ensure_torchvision

HAS_TORCHVISION = ensure_torchvision()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration  # noqa: E402

from cxr_max.align import logprobs, memory, methods, pack  # noqa: E402
from cxr_max.align.types import GroupLogps, RenderedGroup  # noqa: E402

LORA: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 32,
    "target_modules": r".*language_model.*\.(q|k|v|o|gate|up|down)_proj",
}
"""Rank and alpha of the authors' scripts, on every linear layer of the text model; the vision tower is frozen."""


def status_kib(name: str) -> int:
    """A line of this process's status, KiB; 0 where the system has none."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


class Clock:
    """Seconds of each step, and the memory steps need beyond what lay there before the first."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        memory.forget_peak()
        self._before = status_kib("VmRSS")

    def begin(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.steps.append((time.perf_counter() - self._wall, time.process_time() - self._cpu))

    def figures(self) -> dict[str, float]:
        """Medians over the steps but the first, which warms up; of the only one where there is no other."""
        wall, cpu = (statistics.median(column) for column in zip(*(self.steps[1:] or self.steps), strict=True))
        peak = status_kib("VmHWM")
        return {
            "step_s": round(wall, 3),
            "step_cpu_s": round(cpu, 3),
            "peak_mib": round(peak / 1024, 1),
            "step_mib": round((peak - self._before) / 1024, 1),
        }


def build(folder: Path, case: dict[str, Any], *, adapter: bool) -> Any:
    """The model, from the same seed for everyone; vision tower frozen."""
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(folder))
    model.model.visual.requires_grad_(False)
    if adapter and case["tune"] == "lora":
        model = get_peft_model(model, LoraConfig(**LORA))
    if case["checkpointing"] and adapter:
        checkpoint_layers(model)
    return model.train()


def checkpoint_layers(model: Any) -> None:
    """Gradient checkpointing as TRL switches it on."""
    model.gradient_checkpointing_enable()
    if hasattr(model, "get_base_model"):
        model.enable_input_require_grads()


def load_group(folder: Path) -> RenderedGroup:
    """The rendered group."""
    tensors = load_file(folder / "group.safetensors")
    ids = tuple(tensors[f"completion{k}"] for k in range(sum(n.startswith("completion") for n in tensors)))
    return RenderedGroup(
        instance_id="one",
        prefix_ids_P=tensors["prefix"],
        completion_ids=ids,
        scored=tuple(torch.ones(len(i), dtype=torch.bool) for i in ids),
        sources=("vote", *(f"teacher{k}" for k in range(1, len(ids)))),
        pixels={k: tensors[k] for k in ("pixel_values", "image_grid_thw")},
        image_key="one",
    )


def train(model: Any, steps: int, logps: Callable[[], GroupLogps], method: str) -> dict[str, Any]:
    """A plain loop: log-probabilities, loss, backward, AdamW."""
    module = methods.get(method)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    clock, first = Clock(), {}
    for _ in range(steps):
        clock.begin()
        out = module.loss(logps(), module.Hyper())
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.end()
        first = first or {k: float(v) for k, v in out.metrics.items() if k in ("logps/chosen", "logps/rejected")}
    return clock.figures() | first


def ours(folder: Path, case: dict[str, Any], *, attention: str = "tree", own_reference: bool = False) -> dict[str, Any]:
    """Packed groups; the reference comes out of the cache, or is computed in every step."""
    model, batch = build(folder, case, adapter=True), pack.pack([load_group(folder)], layout="flat")

    def reference() -> GroupLogps:
        with torch.no_grad():
            if case["tune"] != "lora":
                return logprobs.packed_logps(frozen, batch, attention=attention)
            with model.disable_adapter():
                return logprobs.packed_logps(model, batch, attention=attention)

    frozen = build(folder, case, adapter=False).eval() if case["tune"] != "lora" else None
    begun = time.perf_counter()
    cached = reference()
    once = time.perf_counter() - begun
    if not own_reference:
        frozen = None

    def logps() -> GroupLogps:
        known = reference() if own_reference else cached
        return logprobs.packed_logps(model, batch, attention=attention).with_reference(known.policy_BK)

    figures = train(model, case["steps"], logps, "apo")
    return figures | {"tokens": batch.n_tokens, "reference_once_s": round(once, 3)}


def unshared_rows(model: Any, group: RenderedGroup, columns: range) -> GroupLogps:
    """1 + N sequences in one padded batch, each with its own prompt and image; vocabulary in chunks, as in ours."""
    rows = [torch.cat([group.prefix_ids_P, group.completion_ids[k]]) for k in columns]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    inner = logprobs.unwrap(model)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in rows], batch_first=True)
    hidden = inner.model(
        input_ids=ids,
        attention_mask=mask,
        mm_token_type_ids=(ids == inner.config.image_token_id).int(),
        pixel_values=group.pixels["pixel_values"].repeat(len(rows), 1),
        image_grid_thw=group.pixels["image_grid_thw"].repeat(len(rows), 1),
        use_cache=False,
    ).last_hidden_state
    start = len(group.prefix_ids_P)
    lengths = torch.tensor([len(group.completion_ids[k]) for k in columns])
    place = torch.arange(int(lengths.max()))
    on = place < lengths[:, None]
    row, at = on.nonzero(as_tuple=True)
    logp = logprobs.token_logps(inner.get_output_embeddings(), hidden[row, start - 1 + at], ids[row, start + at])
    token = torch.zeros(on.shape).index_put((row, at), logp)
    return GroupLogps(token.sum(-1)[None], lengths[None], torch.ones(1, len(rows), dtype=torch.bool))


def concatenated(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """What N-way losses do elsewhere: 1 + N whole sequences in a batch; the reference comes out of the cache."""
    model, group = build(folder, case, adapter=True), load_group(folder)
    columns = range(len(group.completion_ids))
    with torch.no_grad():
        known = unshared_rows(model, group, columns).policy_BK
    figures = train(model, case["steps"], lambda: unshared_rows(model, group, columns).with_reference(known), "apo")
    return figures | {"tokens": sum(len(group.prefix_ids_P) + len(c) for c in group.completion_ids)}


def supervised(folder: Path, case: dict[str, Any], *, packed: bool) -> dict[str, Any]:
    """SFT on the teachers' trajectories of one image: in one sequence, or as a batch of sequences."""
    model, group = build(folder, case, adapter=True), load_group(folder)
    teachers = range(1, len(group.completion_ids))
    if not packed:
        figures = train(model, case["steps"], lambda: unshared_rows(model, group, teachers), "sft")
        return figures | {"tokens": sum(len(group.prefix_ids_P) + len(group.completion_ids[k]) for k in teachers)}
    few = RenderedGroup(
        "one", group.prefix_ids_P, group.completion_ids[1:], group.scored[1:], group.sources[1:],
        pixels=group.pixels, image_key=group.image_key,
    )  # fmt: skip
    batch = pack.pack([few], layout="flat")
    figures = train(model, case["steps"], lambda: logprobs.packed_logps(model, batch), "sft")
    return figures | {"tokens": batch.n_tokens}


def whole_processor(folder: Path, case: dict[str, Any]) -> Any:
    """Transformers' own processor, which needs torchvision."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=case["max_pixels"]),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )


def trl(folder: Path, case: dict[str, Any], *, reference: bool = True, at_once: bool = True) -> dict[str, Any]:
    """TRL's DPOTrainer on the group expanded to pairs, all of them in a batch or one at a time with accumulation."""
    from datasets import Dataset
    from PIL import Image
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    processor = whole_processor(folder, case)
    rows = json.loads((folder / "rows.json").read_text())
    image = Image.open(folder / "image.png").convert("RGB")
    dataset = Dataset.from_list([{"images": [image], **row} for row in rows])
    clock: list[Clock] = []

    class Timed(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.append(Clock())

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock[0].begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock[0].end()

    class Known(DataCollatorForVisionPreference):
        """Reference log-probabilities beside the batch, which TRL itself refuses for images."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            zeros = torch.zeros(len(examples))
            return super().torch_call(examples) | {"ref_chosen_logps": zeros, "ref_rejected_logps": zeros}

    pairs = len(rows)
    args = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=pairs if at_once else 1,
        gradient_accumulation_steps=1 if at_once else pairs, max_steps=case["steps"], learning_rate=1e-4,
        gradient_checkpointing=case["checkpointing"], logging_steps=1, save_strategy="no", report_to="none",
        use_cpu=True, bf16=False, max_length=None, dataloader_pin_memory=False, disable_tqdm=True,
    )  # fmt: skip
    lora = case["tune"] == "lora"
    # Without an adapter to switch off TRL would fetch its reference by the model's name.
    frozen = None if lora else build(folder, case, adapter=False)
    trainer = DPOTrainer(
        model=build(folder, case, adapter=False), ref_model=frozen, args=args, train_dataset=dataset,
        processing_class=processor,
        peft_config=LoraConfig(**LORA) if lora else None, callbacks=[Timed()],
        data_collator=None if reference else Known(processor),
    )  # fmt: skip
    if not reference:
        trainer.precompute_ref_logps, trainer.ref_model = True, None
    trainer.train()
    first = next(row for row in trainer.state.log_history if "logps/chosen" in row)
    group = load_group(folder)
    prefix, chosen = len(group.prefix_ids_P), len(group.completion_ids[0])
    tokens = sum(2 * prefix + chosen + len(c) for c in group.completion_ids[1:])
    return clock[0].figures() | {k: first[k] for k in ("logps/chosen", "logps/rejected")} | {"tokens": tokens}


CONTESTANTS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "trl_pairs": trl,
    "trl_pairs_no_reference": lambda f, c: trl(f, c, reference=False),
    "trl_pairs_one_by_one": lambda f, c: trl(f, c, at_once=False),
    "concatenated": concatenated,
    "packed": ours,
    "packed_own_reference": lambda f, c: ours(f, c, own_reference=True),
    "packed_dense": lambda f, c: ours(f, c, attention="dense"),
    "sft_batch": lambda f, c: supervised(f, c, packed=False),
    "sft_packed": lambda f, c: supervised(f, c, packed=True),
}


if __name__ == "__main__":
    name, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(json.loads((folder / "case.json").read_text())["threads"])
    out.write_text(json.dumps(CONTESTANTS[name](folder, json.loads((folder / "case.json").read_text()))))
