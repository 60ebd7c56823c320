"""Panels of answers made up for tests."""

from typing import Any

from cxr_max import prompts
from cxr_max.align.consensus import Answer, Panel


def panel(*texts: str | list[str], diseases: tuple[str, ...] = ("Pleural Effusion",), **more: Any) -> Panel:
    """A panel of teachers t0, t1, ...; a list gives one teacher several generations."""
    answers = [
        Answer(f"t{i}", g, t)
        for i, own in enumerate(texts)
        for g, t in enumerate(own if isinstance(own, list) else [own])
    ]
    return Panel("i", prompts.render(diseases), diseases, tuple(a for a in answers if a.text.strip()), **more)
