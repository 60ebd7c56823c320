"""The seven teachers of CXR-MAX: the only place where a teacher is named."""

import re
from dataclasses import dataclass

from cxr_max.errors import UnknownNameError


@dataclass(frozen=True)
class Teacher:
    """One multimodal LLM whose trajectories are in the benchmark.

    Attributes:
        id: stable short name used in every table.
        display: the model as the paper's appendix names it; used in every figure and table.
        provider: who serves the model.
        aliases: other spellings met in files, folded as by `fold`.
    """

    id: str
    display: str
    provider: str
    aliases: tuple[str, ...] = ()


TEACHERS: tuple[Teacher, ...] = (
    Teacher("sonnet-4", "Claude Sonnet-4", "Anthropic", ("claude-sonnet-4", "claude-4-sonnet", "sonnet", "claude")),
    Teacher("gemini-2.5", "Gemini-2.5-flash-lite", "Google", ("gemini-2.5-flash-lite", "gemini-2.5-flash", "gemini")),
    Teacher("glm-4.5v", "GLM-4.5V", "Zhipu AI", ("glm-4.5-v", "glm-4-5v", "glm4v", "glm", "zai-glm-4.5v")),
    Teacher("gpt-5", "GPT-5-nano", "OpenAI", ("gpt-5-nano", "gpt5nano", "gpt")),
    Teacher("qwen-vl-max", "Qwen-VL-Max", "Alibaba", ("qwenvl-max", "qwen-vl", "qwen", "qwen-max-vl")),
    Teacher("grok-4", "Grok-4", "xAI", ("grok", "x-ai-grok-4", "xai-grok-4")),
    Teacher("moonshot", "Moonshot-v1", "Moonshot AI", ("moonshot-v1", "moonshot-v1-vision", "kimi", "moonshotai")),
)
"""In the order of the paper's Figure 1a."""

TEACHER_IDS: tuple[str, ...] = tuple(t.id for t in TEACHERS)


def fold(name: str) -> str:
    """Reduce a spelling to letters and digits, dropping a date stamp such as `-20250514` at its end."""
    return re.sub(r"[^a-z0-9]+", "", re.sub(r"[-_@:]?20\d{2}-?\d{2}-?\d{2}$", "", name.strip().lower()))


_BY_FOLDED = {fold(spelling): t for t in TEACHERS for spelling in (t.id, t.display, *t.aliases)}


def find_teacher(name: str) -> Teacher | None:
    """The teacher meant by any known spelling, or None."""
    return _BY_FOLDED.get(fold(name))


def get_teacher(name: str) -> Teacher:
    """The teacher meant by any known spelling.

    Raises:
        UnknownNameError: no teacher is known by this name.
    """
    teacher = find_teacher(name)
    if teacher is None:
        raise UnknownNameError.of("teacher", name, TEACHER_IDS)
    return teacher


def display_name(teacher_id: str) -> str:
    """What to print for a teacher id; an id from a user's own teachers stands for itself."""
    teacher = find_teacher(teacher_id)
    return teacher.display if teacher else teacher_id
