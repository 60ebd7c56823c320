"""Answers follow the settings that are stated, whatever generation settings a checkpoint brings along."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from cxr_max.align import generation, students
from cxr_max.align.generation import Decoding, Generated, generate
from cxr_max.align.types import PreferenceGroup
from tests.align import small_models

BROUGHT = {"repetition_penalty": 1.05, "temperature": 0.1, "top_k": 1, "top_p": 0.001, "do_sample": True}
"""What Qwen2.5-VL's `generation_config.json` is like."""
ASKED = [PreferenceGroup("i", (), ("-",), ("q",), prompt=f"Why {n}? " * n) for n in range(1, 13)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and the same with settings of its own beside it."""
    plain = small_models.qwen(tmp_path_factory.mktemp("generation") / "plain")
    brings = Path(shutil.copytree(plain, plain.with_name("brings")))
    path = brings / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BROUGHT))
    return plain, brings


def _written(folder: Path, decoding: Decoding, adapter: Path | None = None) -> list[Any]:
    model, renderer = students.load_any(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    before = [m.generation_config.to_dict() for m in (model, generation._inside(model))]
    made = generate(model.eval(), renderer, ASKED, decoding, range(len(ASKED)))
    # What the checkpoint brought stands again where it stood.
    assert [m.generation_config.to_dict() for m in (model, generation._inside(model))] == before
    return made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("adapted", [False, True], ids=["model", "adapter"])
def test_nothing_a_checkpoint_brings_leaks_in(
    temperature: float, adapted: bool, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    decoding = Decoding(60, temperature)
    adapter = small_models.adapter(tmp_path / "adapter", folders[0]) if adapted else None
    plain, brings = (_written(folder, decoding, adapter) for folder in folders)
    assert all(isinstance(answer, Generated) for answer in plain)
    assert plain == brings


def test_a_configuration_that_is_passed_does_let_it_in(folders: tuple[Path, Path]) -> None:
    """Why the settings stand in the checkpoint's place: the usual call penalises repetition unasked."""
    made: list[list[Any]] = [[], []]
    for folder, rows in zip(folders, made, strict=True):
        model, renderer = students.load_any(folder, dtype=torch.float32)
        for group in ASKED:
            ids_P, _ = renderer.prefix(group)
            config = GenerationConfig(max_new_tokens=60, do_sample=False)
            rows.append(model.eval().generate(input_ids=ids_P[None], generation_config=config).tolist())
    assert made[0] != made[1]


def test_an_answer_ends_where_the_checkpoint_says_it_ends(folders: tuple[Path, Path]) -> None:
    model, renderer = students.load_any(folders[0], dtype=torch.float32)
    whole = generate(model.eval(), renderer, ASKED[:1], Decoding(60), [0])[0]
    ids_P, _ = renderer.prefix(ASKED[0])
    row = generation.continued(
        model, renderer.tokenizer, {"input_ids": ids_P[None], "attention_mask": torch.ones_like(ids_P)[None]}, 60
    )[0]
    fifth = int(row[4])
    model.generation_config.eos_token_id = [renderer.tokenizer.eos_token_id, fifth]
    short = generate(model, renderer, ASKED[:1], Decoding(60), [0])[0]
    first = row.tolist().index(fifth)
    assert isinstance(whole, Generated)
    assert short == Generated(renderer.tokenizer.decode(row[:first], skip_special_tokens=True), False)
