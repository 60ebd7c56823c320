"""Seven teachers, found by any usual spelling, never by a wrong one."""

import pytest

from cxr_max.errors import UnknownNameError
from cxr_max.teachers import TEACHERS, display_name, find_teacher, fold, get_teacher


def test_seven_teachers_with_unambiguous_spellings() -> None:
    assert len(TEACHERS) == 7
    folded = [{fold(s) for s in (t.id, t.display, *t.aliases)} for t in TEACHERS]
    assert sum(map(len, folded)) == len(set.union(*folded))


@pytest.mark.parametrize(
    ("spelling", "teacher"),
    [
        ("gpt-5-nano", "gpt-5"), ("GPT5", "gpt-5"), ("GPT-5-nano-2025-08-07", "gpt-5"), ("claude-sonnet-4", "sonnet-4"),
        ("claude-sonnet-4-20250514", "sonnet-4"), ("Gemini 2.5 Flash Lite", "gemini-2.5"), ("glm-4.5v", "glm-4.5v"),
        ("Qwen_VL_Max", "qwen-vl-max"), ("GROK4", "grok-4"), (" moonshot-v1 ", "moonshot"),
    ],
)  # fmt: skip
def test_usual_spellings(spelling: str, teacher: str) -> None:
    assert get_teacher(spelling).id == teacher


@pytest.mark.parametrize("spelling", ["", "gpt-4o", "llama-4", "sonnet-3.5", "20250514"])
def test_other_models_are_not_taken_for_a_teacher(spelling: str) -> None:
    assert find_teacher(spelling) is None
    with pytest.raises(UnknownNameError, match="gpt-5"):
        get_teacher(spelling)


def test_a_users_own_teacher_is_displayed_by_its_id() -> None:
    assert display_name("my-model") == "my-model"
    assert display_name("gpt5") == "GPT-5-nano"
