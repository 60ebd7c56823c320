"""Profiles of the simulated teachers, and the rates per concept that follow from them."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_max.schema import FINDINGS
from cxr_max.synth.concepts import concepts, index
from cxr_max.teachers import TEACHER_IDS

Array = npt.NDArray[Any]

PROMPTED, UNPROMPTED = 1.2, -1.2
"""Added to the log-odds of naming what is there, when the prompt names its label and when not."""
SUGGESTED = 2.0
"""Added to the log-odds of an invention that the prompt suggests: a sign or a further kind of a prompted label."""

# Log-odds per concept: how much easier or harder than the average it is to see, and how readily it is made up.
_SEEN = {
    "cardiomegaly": 0.4, "pleural_effusion": 0.3, "lung_opacity": 0.2, "pneumothorax": -0.2, "rib_fracture": -0.8,
    "lung_nodule": -0.6, "pleural_thickening": -0.7, "enlarged_cardiomediastinum": -0.4, "endotracheal_tube": 0.2,
    "pacemaker": 0.8, "septal_lines": -0.8, "air_bronchograms": -0.4, "volume_loss": -0.3, "mediastinal_shift": -0.4,
    "no_finding": 1.0,
}  # fmt: skip
_MADE_UP = {
    "lung_opacity": 0.8, "cardiomegaly": 0.5, "pleural_effusion": 0.4, "atelectasis": 0.3, "consolidation": 0.2,
    "costophrenic_blunting": 0.3, "mediastinal_shift": 0.3, "rib_fracture": -1.0, "lung_mass": -0.8,
    "pleural_thickening": -0.5, "pacemaker": -1.0, "chest_tube": -1.0, "endotracheal_tube": -0.6,
    "enteric_tube": -0.6, "pneumothorax": -0.6,
}  # fmt: skip


# How much more readily a side is mistaken, or a finding negated that is there.
_TURNED = {
    "atelectasis": 0.3, "lung_opacity": 0.2, "rib_fracture": 0.3, "volume_loss": 0.2, "pneumothorax": -0.2,
    "pacemaker": -0.8, "chest_tube": -0.4, "lung_mass": -0.4,
}  # fmt: skip
_DENIED = {
    "pneumonia": 0.4, "pneumothorax": 0.3, "rib_fracture": 0.3, "edema": 0.2, "cardiomegaly": -0.4, "pacemaker": -0.6,
    "endotracheal_tube": -0.4, "no_finding": -np.inf,
}  # fmt: skip
# By label: how much more readily a prompt that names it is refused.
_REFUSED = {"Lung Lesion": 0.5, "Fracture": 0.3, "Pneumothorax": 0.2, "Support Devices": -0.3, "No Finding": -0.4}


@dataclass(frozen=True)
class Profile:
    """One simulated teacher; the fields are explained in `profiles.toml`."""

    sensitivity: float
    invention: float
    side_flip: float
    status_flip: float
    refusal: float
    hedging: float
    side_stated: float
    negatives: float
    noise: float
    words: float
    words_sd: float
    heading: str
    items: str
    order: str
    generic: float
    disclaimer: float
    summary: float


@cache
def profiles() -> dict[str, Profile]:
    """The seven profiles, by teacher id, in the order of `TEACHER_IDS`."""
    raw = tomllib.loads(files("cxr_max.synth").joinpath("profiles.toml").read_text(encoding="utf-8"))
    return {t: Profile(**raw[t]) for t in TEACHER_IDS}


def offsets(table: dict[str, float]) -> Array:
    """[C] log-odds per concept."""
    out = np.zeros(len(concepts()))
    for name, value in table.items():
        out[index()[name]] = value
    return out


@cache
def seen_offsets() -> Array:
    """[C] log-odds by which each concept is easier to name when it is there."""
    return offsets(_SEEN)


@cache
def made_up_offsets() -> Array:
    """[C] log-odds by which each concept is more readily invented; "no finding" never is."""
    out = offsets(_MADE_UP)
    out[index()["no_finding"]] = -np.inf
    return out


@cache
def turned_offsets() -> Array:
    """[C] log-odds by which the side of each concept is more readily mistaken."""
    return offsets(_TURNED)


@cache
def denied_offsets() -> Array:
    """[C] log-odds by which each concept is more readily negated though it is there; "no finding" never is."""
    return offsets(_DENIED)


def refused_offset(diseases: tuple[str, ...]) -> float:
    """Log-odds by which a prompt is more readily refused: the mean over the labels it names."""
    return sum(_REFUSED.get(d, 0.0) for d in diseases) / max(1, len(diseases))


def logit(p: float) -> float:
    """log(p / (1 - p))."""
    return float(np.log(p / (1.0 - p)))


def expit(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def rates(profile: Profile) -> dict[str, Any]:
    """All rates of a profile per concept, with the log-odds already turned into probabilities, at no step drift."""
    seen, made_up = seen_offsets() + profile.sensitivity, made_up_offsets() + profile.invention
    per = {
        "sensitivity_prompted": expit(seen + PROMPTED),
        "sensitivity_unprompted": expit(seen + UNPROMPTED),
        "invention": expit(made_up),
        "invention_suggested": expit(made_up + SUGGESTED),
        "side_flip": expit(logit(profile.side_flip) + turned_offsets()),
        "status_flip": expit(logit(profile.status_flip) + denied_offsets()),
    }
    names = [c.id for c in concepts()]
    out: dict[str, Any] = {k: {n: round(float(x), 6) for n, x in zip(names, v, strict=True)} for k, v in per.items()}
    out["refusal"] = {
        f: round(float(expit(np.array(logit(profile.refusal) + refused_offset((f,))))), 6) for f in FINDINGS
    }
    out |= {k: v for k, v in profile.__dict__.items() if k not in out}
    return out
