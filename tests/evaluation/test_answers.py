"""What a text answers: explicit, negated, hedged by several options, marked up, hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_max.evaluation.answers import parse_answer

PROGRESSION = ("improving", "stable", "worsening")
YES_NO = ("yes", "no")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("improving", "improving"),
        ("**Improving**", "improving"),
        ("The effusion has decreased.", "improving"),
        ("<think>It may be stable or worsening.</think> Worsening.", "worsening"),
        ("The lung is stable. Answer: worsening", "worsening"),
        ("Answer: stable\nAnswer: worsening", "worsening"),
        ("It is not worsening. It is stable.", "stable"),
        ("There is no significant change.", "stable"),
        ("No change.", "stable"),
        ("The finding is stable rather than worsening.", "stable"),
        ("stable or worsening", None),
        ("It is not improving.", None),
        ("I cannot tell.", None),
        ("", None),
        ("unstable", None),
        ("Answer: I do not know. It was stable before.", "stable"),
    ],
)
def test_progression(text: str, answer: str | None) -> None:
    assert parse_answer(text, PROGRESSION) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "yes"), ("no", "no"), ("No, there is no effusion.", "no"), ("Yes and no", None),
        ("The effusion is present.", "yes"), ("It is absent", "no"), ("nothing to say", None), ("not present", None),
        ("Final answer: **No**", "no"), ("<think>yes</think>\nno", "no"),
    ],
)  # fmt: skip
def test_yes_no(text: str, answer: str | None) -> None:
    assert parse_answer(text, YES_NO) == answer


def test_options_of_ones_own() -> None:
    assert parse_answer("I would say left lung.", ("left lung", "right lung")) == "left lung"


@given(st.text(max_size=300), st.sampled_from([PROGRESSION, YES_NO]))
def test_any_text_gives_an_option_or_none(text: str, options: tuple[str, ...]) -> None:
    assert parse_answer(text, options) in (*options, None)


@given(st.sampled_from(PROGRESSION), st.sampled_from([" ", "\n", "*"]))
def test_the_option_alone_is_the_answer_however_it_is_wrapped(option: str, wrap: str) -> None:
    assert parse_answer(f"{wrap}{option.upper()}{wrap}", PROGRESSION) == option


def test_a_megabyte_is_read_in_time() -> None:
    assert parse_answer("not " * 250_000 + "stable.", PROGRESSION) is None
    assert parse_answer("word " * 200_000 + "worsening", PROGRESSION) == "worsening"
