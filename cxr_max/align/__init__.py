"""Autonomous Preference Optimization (APO): one consensus trajectory against the teachers' own, in one pass.

"APO" here is Autonomous Preference Optimization; `apo_zero` and `apo_down` of TRL and Liger belong to Anchored
Preference Optimization, another method. Names below arrive when they are first used, since they load torch.
"""

from cxr_max.plugins import lazy

_HOME = {
    "GroupLogps": "types",
    "LossOutput": "types",
    "PreferenceGroup": "types",
    "RenderedGroup": "types",
    "Lora": "config",
    "ModelSpec": "config",
    "Optimizer": "config",
    "Scratch": "config",
    "TrainConfig": "config",
    "TrainResult": "config",
    "Student": "students",
    "load_student": "students",
    "train": "training",
    "group_loss": "losses",
    "naive_logps": "logprobs",
    "packed_logps": "logprobs",
    "verify_exact": "logprobs",
    "reference_logps": "reference",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy(__name__, _HOME)
