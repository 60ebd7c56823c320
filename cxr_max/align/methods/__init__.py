"""The methods: a file here, or in another package, is a method of the file's name.

A method module defines `NAME`, `NEEDS` (what beside the policy's sums its loss reads: any of "reference", "tokens",
"steps"), `Hyper` (a frozen dataclass of its settings) and `loss(group: GroupLogps, hyper: Hyper) -> LossOutput`.
It may define `needs(hyper)`, when what it reads depends on a setting, and `select(group: PreferenceGroup, hyper)
-> PreferenceGroup | None`, to change a group before it is batched or to drop it. One that learns every completion of
a group alike, so that none has to be the positive, sets `SUPERVISED = True`.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from cxr_max.errors import UsageError
from cxr_max.plugins import Registry, blamed

REGISTRY = Registry("method", "cxr_max.align.methods", "cxr_max.methods", ("NAME", "NEEDS", "Hyper", "loss"))

_ANCHORED = (
    "{name} is Anchored Preference Optimization as TRL and Liger have it, a pairwise loss that pushes each likelihood "
    "against the reference; cxr-max's apo is Autonomous Preference Optimization, one positive against N teachers"
)
_MISTAKEN: Mapping[str, str] = {"apo_zero": _ANCHORED, "apo_down": _ANCHORED}


def names() -> tuple[str, ...]:
    """All methods: our own, then those of installed packages."""
    return REGISTRY.names()


def get(name: str) -> ModuleType:
    """The module of a method, by name or by the path of a Python file.

    Raises:
        UsageError: the name belongs to another method that is easily taken for one of ours, or the file lacks a
            name a method must define.
        UnknownNameError: no such method; the known ones are listed.
    """
    if name in _MISTAKEN and name not in names():
        raise UsageError(
            _MISTAKEN[name].format(name=name), next="ask for apo, or train the other with TRL's DPOTrainer"
        )
    return REGISTRY.get(name)


def needs(name: str, hyper: Any) -> frozenset[str]:
    """What a method reads beside the policy's sums: a subset of {"reference", "tokens", "steps"}."""
    module = get(name)
    return frozenset(module.needs(hyper) if hasattr(module, "needs") else module.NEEDS)


def units(module: ModuleType, group: Any, hyper: Any) -> float:
    """How many units (groups, pairs, tokens) a method's loss of these groups is a mean over.

    Raises:
        DataError: the loss is not defined on them.
        UsageError: a user's method failed, or its metrics lack `denominator`.
    """
    with blamed(module):
        metrics = module.loss(group, hyper).metrics
    if "denominator" not in metrics:
        raise UsageError(
            f"the metrics of method {module.NAME} lack 'denominator', the number of units the loss is a mean over",
            next="cxr_max.align.losses.mean_over_groups gives it",
        )
    return float(metrics["denominator"])
