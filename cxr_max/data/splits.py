"""Split names as `datasets` spells them: train, validation, test; users may also say validate, val, valid or dev."""

from typing import Any

from cxr_max.schema import HF_SPLITS, SPLIT_ALIASES

_TO_HF = {alias: HF_SPLITS[split] for alias, split in SPLIT_ALIASES.items()} | HF_SPLITS


def to_hf(split: Any) -> Any:
    """Replace aliases in any form `datasets` takes: a name, a slice, a sum of them, a list, a dict, a ReadInstruction.

    A name that is no alias stays as it is, and `datasets` says which splits there are.
    """
    if split is None:
        return None
    if isinstance(split, list | tuple):
        return type(split)(map(to_hf, split))
    if isinstance(split, dict):
        return {name: to_hf(part) for name, part in split.items()}
    if hasattr(split, "to_spec") and hasattr(type(split), "from_spec"):
        return type(split).from_spec(to_hf(split.to_spec()))
    return "+".join(_part(part) for part in str(split).split("+"))


def _part(part: str) -> str:
    name, bracket, rest = part.strip().partition("[")
    return f"{_TO_HF.get(name.strip().lower(), name.strip())}{bracket}{rest}"
