"""Step time and memory of one preference group: ours against TRL's DPOTrainer and against unshared batches.

    python -m benchmarks.engine_vs_trl [--tiny]

One positive and seven negatives about one image, Qwen2.5-VL with random weights, LoRA on the text model, float32 on
one thread of a CPU. Prompt and response lengths are a quarter of those met at full size, so that attention has the
share of the work it has in the 7B model there; vocabulary and vision tower are scaled to keep their shares as well.
TRL trains on the group expanded to seven pairs with its own reference forward, since it refuses a cached one for
images; it is shown without as well. Every contestant runs in processes of its own, one after the other, on the same
model and group: one for time, after a step to warm up, and one for memory, in which the allocator gives large blocks
back when they are freed, so that what a step needs beyond weights and optimizer is that of living tensors.

TRL comes from its own environment (`python -m benchmarks.peer_env trl`). At tiny size it is left out when that is
absent, and our own contestants run in this one.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2VLImageProcessorPil

from benchmarks import common, peer_env
from cxr_max import doctor
from cxr_max.align.render import Renderer
from cxr_max.align.types import PreferenceGroup
from tests.align import tokenizers_for_tests

ROOT = Path(__file__).resolve().parents[1]
TRUNK = {"hidden_size": 768, "intermediate_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 12}
MAIN = {
    "prefix": 325, "responses": [75] * 8, "patches": 32, "text": TRUNK, "vocabulary": 4608, "vision_hidden": 256,
    "vision_depth": 4, "tune": "lora", "checkpointing": False, "steps": 2,
}  # fmt: skip
SMALL_TRUNK = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY = MAIN | {
    "prefix": 110, "responses": [6, 4, 5, 6], "patches": 8, "text": SMALL_TRUNK, "vocabulary": 512, "vision_hidden": 64,
    "vision_depth": 2, "steps": 2,
}  # fmt: skip
MIXED = [60, 160, 150, 75, 50, 40, 100, 120]
"""Responses as unequal as the published example's, in quarters of a token."""
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "main": (MAIN, ("packed", "trl_pairs", "concatenated")),
    "supervised": (MAIN, ("sft_packed", "sft_batch")),
    "reference_in_every_step_or_none": (MAIN, ("packed", "packed_own_reference", "trl_pairs_no_reference")),
    "main_one_by_one": (MAIN, ("packed", "packed_dense", "trl_pairs_one_by_one")),
    "gradient_checkpointing": (MAIN | {"checkpointing": True, "steps": 2}, ("trl_pairs", "concatenated", "packed")),
    "all_weights": (MAIN | {"tune": "full", "steps": 2}, ("trl_pairs", "concatenated", "packed")),
    "unequal_responses": (MAIN | {"responses": MIXED, "steps": 2}, ("trl_pairs", "concatenated", "packed")),
    "short_prompt": (MAIN | {"prefix": 150, "patches": 14, "steps": 2}, ("trl_pairs", "concatenated", "packed")),
    "small_model": (
        MAIN | {"text": SMALL_TRUNK, "vision_hidden": 64, "vision_depth": 2, "steps": 2},
        ("trl_pairs", "concatenated", "packed"),
    ),
}  # fmt: skip
WEIGHED = ("packed", "trl_pairs", "concatenated", "sft_packed", "sft_batch", "trl_pairs_one_by_one")
"""Contestants whose memory is measured as well."""
COMPARED = ("step_s", "step_cpu_s", "step_mib", "peak_mib")
SEVEN_B = {"hidden": 3584, "layers": 28, "inter": 18944, "kv": 512, "vocabulary": 152064}


def shares(hidden: int, layers: int, inter: int, kv: int, vocabulary: int, length: int) -> dict[str, float]:
    """Shares of a forward's FLOP for one unshared sequence: attention's scores and mixing, and the vocabulary."""
    linear = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inter)
    attention, head = layers * 2 * hidden * length / 2, hidden * vocabulary
    total = linear + attention + head
    return {"attention": round(attention / total, 4), "vocabulary": round(head / total, 4)}


def ceilings(prefix: int, responses: list[int]) -> dict[str, float]:
    """How many times fewer tokens go through the text model, at most; a reference forward is half a step's work
    where only an adapter trains (forward 1, backward 1), so with it the pairs cost 3 / 2."""
    ours = prefix + sum(responses)
    pairs = sum(2 * prefix + responses[0] + r for r in responses[1:])
    concatenated = len(responses) * prefix + sum(responses)
    sft = ((len(responses) - 1) * prefix + sum(responses[1:])) / (prefix + sum(responses[1:]))
    rows = {
        "pairs": pairs / ours,
        "pairs_with_reference": 1.5 * pairs / ours,
        "concatenated": concatenated / ours,
        "sft": sft,
    }
    return {k: round(v, 2) for k, v in rows.items()}


def prepare(folder: Path, case: dict[str, Any]) -> None:
    """Write model configuration, tokenizer, image, rows of pairs and the rendered group."""
    tokenizer = tokenizers_for_tests.small(folder)
    special = {
        n: tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    head = case["text"]["hidden_size"] // case["text"]["num_attention_heads"]
    section = [head // 8, head // 8 * 3 // 2, head // 2 - head // 8 - head // 8 * 3 // 2]
    Qwen2_5_VLConfig(
        text_config={
            **case["text"], "num_key_value_heads": 2, "vocab_size": case["vocabulary"],
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.pad_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section},
        },
        vision_config={
            "depth": case["vision_depth"], "hidden_size": case["vision_hidden"], "num_heads": 4,
            "intermediate_size": case["vision_hidden"] * 8 // 3, "out_hidden_size": case["text"]["hidden_size"],
            "fullatt_block_indexes": [case["vision_depth"] - 1],
        },
        image_token_id=special["image_pad"], video_token_id=special["video_pad"],
        vision_start_token_id=special["vision_start"], vision_end_token_id=special["vision_end"],
    ).save_pretrained(folder)  # fmt: skip
    side = case["patches"] * 14
    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 255, (side, side), dtype=np.uint8)).save(folder / "image.png")
    renderer = Renderer(tokenizer, "rationale", Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=side * side))

    def digits(n: int) -> str:
        """n tokens: the tokenizer never merges digits."""
        return "".join(str(d) for d in noise.integers(0, 10, n))

    texts = tuple(digits(n - 1) for n in case["responses"])
    sources = ("vote", *(f"teacher{k}" for k in range(1, len(texts))))
    image = str(folder / "image.png")
    short = renderer.render(PreferenceGroup("one", (), texts, sources, prompt=digits(1), image=image))
    question = digits(1 + case["prefix"] - len(short.prefix_ids_P))
    group = renderer.render(PreferenceGroup("one", (), texts, sources, prompt=question, image=image))
    assert len(group.prefix_ids_P) == case["prefix"]
    assert [len(c) for c in group.completion_ids] == case["responses"]
    tensors = {f"completion{k}": ids for k, ids in enumerate(group.completion_ids)}
    save_file({"prefix": group.prefix_ids_P, **tensors, **dict(group.pixels)}, folder / "group.safetensors")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    # TRL's collator for images adds no end-of-text token to plain text.
    end = str(tokenizer.eos_token)
    rows = [{"prompt": prompt, "chosen": texts[0] + end, "rejected": t + end} for t in texts[1:]]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "case.json").write_text(json.dumps(case | {"max_pixels": side * side, "threads": 1}))


@contextmanager
def alone() -> Iterator[None]:
    """Hold the file `$CXR_MAX_BENCH_LOCK` names, where several measure on one machine."""
    name = os.environ.get("CXR_MAX_BENCH_LOCK")
    if name is None:
        yield
        return
    with Path(name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def contest(case: dict[str, Any], names: tuple[str, ...], python: Path) -> dict[str, Any]:
    """Run the contestants one after the other and put them in proportion."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, case)
        rows: dict[str, Any] = {}
        for contestant in names:
            rows[contestant] = measure(contestant, folder, python, case["steps"], {})
            if contestant in WEIGHED:
                memory = measure(contestant, folder, python, 1, {"MALLOC_MMAP_THRESHOLD_": str(2**18)})
                rows[contestant] |= {k: memory[k] for k in ("peak_mib", "step_mib")}
            print(contestant, rows[contestant], file=sys.stderr, flush=True)
    text = case["text"]
    kv = 2 * text["hidden_size"] // text["num_attention_heads"]
    length = case["prefix"] + case["responses"][0]
    model = (text["hidden_size"], text["num_hidden_layers"], text["intermediate_size"], kv, case["vocabulary"])
    return {
        "case": {k: v for k, v in case.items() if k != "text"} | text,
        "flop_shares": shares(*model, length),
        "contestants": rows,
        "times_better": proportions(rows),
        "token_ceilings": ceilings(case["prefix"], case["responses"]),
    }


def measure(contestant: str, folder: Path, python: Path, steps: int, settings: dict[str, str]) -> dict[str, Any]:
    """Run a contestant in a process of its own."""
    case = json.loads((folder / "case.json").read_text())
    (folder / "case.json").write_text(json.dumps(case | {"steps": steps}))
    out = folder / f"{contestant}.json"
    command = [str(python), "-m", "benchmarks._engine_contestants", contestant, str(folder), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}
    with alone():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(out.read_text())
    # Wall time on a machine that others use says little: compare processor time, which one thread does not inflate.
    figures["load_average"] = round(os.getloadavg()[0], 1)
    return {k: v for k, v in figures.items() if k not in ("peak_mib", "step_mib") or settings}


def proportions(rows: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How many times longer, and how many times more memory, each contestant takes than ours."""
    found = {}
    for name, row in rows.items():
        base = rows.get("sft_packed" if name.startswith("sft") else "packed")
        if base is not None and row is not base:
            found[name] = {k: round(row[k] / base[k], 2) for k in COMPARED if row.get(k) and base.get(k)}
    return found


def check_same_numbers(rows: dict[str, Any]) -> None:
    """Every contestant scored the same tokens: TRL's and our log-probabilities agree before the first update."""
    for key in ("logps/chosen", "logps/rejected"):
        seen = [row[key] for row in rows.values() if key in row]
        assert not seen or max(seen) - min(seen) < 1e-3 * abs(seen[0]), f"{key} differs between contestants: {seen}"


def main(tiny: bool) -> None:
    """Run all cases, or those `$CXR_MAX_BENCH_CASES` names, or at tiny size a miniature; each is written when done.

    Named cases take the place of theirs in the result file; each case carries the commit it was measured at.
    """
    python = peer_env.python_of("trl")
    cases = CASES
    if tiny:
        every = dict.fromkeys(n for _, names in CASES.values() for n in names)
        cases = {"tiny": (TINY, tuple(n for n in every if python is not None or not n.startswith("trl")))}
        python = python or Path(sys.executable)
    else:
        python = peer_env.make("trl")
        chosen = os.environ.get("CXR_MAX_BENCH_CASES", ",".join(CASES)).split(",")
        cases = {name: CASES[name] for name in chosen}
    at_7b = shares(**SEVEN_B, length=1600)
    stored = common.RESULTS / "engine_vs_trl.json"
    partial = not tiny and len(cases) < len(CASES) and stored.exists()
    result: dict[str, Any] = json.loads(stored.read_text())["figures"]["cases"] if partial else {}
    for name, (case, contestants) in cases.items():
        result[name] = contest(case, contestants, python) | {"commit": doctor.commit()}
        check_same_numbers(result[name]["contestants"])
        figures = {"flop_shares_of_7b_at_1600_tokens": at_7b, "cases": result}
        common.write("engine_vs_trl", figures, tiny=tiny, packages=("torch", "transformers", "peft", "trl"))


if __name__ == "__main__":
    common.run(main, __doc__)
