"""The paper's sentence, byte for byte, and what is parsed from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_max import prompts
from cxr_max.schema import FINDINGS


def test_the_papers_sentence() -> None:
    assert prompts.render(["atelectasis", "pleural effusion"]) == (
        "This is a patient's chest DR image. The patient has been diagnosed with atelectasis and pleural effusion. "
        "Can you find the basis for the diagnosis in the image?"
    )


@given(st.lists(st.sampled_from(FINDINGS), unique=True, min_size=1))
def test_parsing_undoes_rendering(diseases: list[str]) -> None:
    assert prompts.parse(prompts.render(diseases)) == tuple(diseases)


@pytest.mark.parametrize(
    ("listed", "parsed"),
    [
        ("Edema, Pneumonia, and Fracture", ("Edema", "Pneumonia", "Fracture")),
        ("Edema; Pneumonia & Fracture", ("Edema", "Pneumonia", "Fracture")),
        ("No Finding", ("No Finding",)),
        ("brand new disease", ("brand new disease",)),
    ],
)
def test_other_ways_to_list(listed: str, parsed: tuple[str, ...]) -> None:
    assert prompts.parse(prompts.TEMPLATE.format(diseases=listed)) == parsed


@pytest.mark.parametrize("text", ["", "What do you see?", "diagnosed with nothing to end it"])
def test_another_prompt_is_not_guessed_at(text: str) -> None:
    assert prompts.parse(text) is None
