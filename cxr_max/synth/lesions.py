"""How each finding looks on a frontal film; one function per concept, found by its name.

A function takes the chest, the finding (its side is -1 right, 1 left) and a random source, and changes the maps of air,
vessels and brightness. `strength` is the knob of contrast and subtlety. Concepts that only change the geometry, such as
a large heart, are drawn with the chest itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cxr_max.synth.canvas import Array, Points, bezier, blob, step
from cxr_max.synth.chest import Chest, Finding

CENTRES = {
    "apical": (0.30, 0.17), "upper": (0.42, 0.30), "mid": (0.50, 0.46), "lower": (0.45, 0.665),
    "perihilar": (0.30, 0.47), "": (0.45, 0.55),
}  # fmt: skip
"""Where each zone lies in a lung: distance from the midline, height."""


def _fill(chest: Chest, mask: Array, share: float) -> None:
    """Take a share of the air away, vessels included."""
    density = np.clip(mask * np.float32(share), 0.0, 1.0)
    chest.air = chest.air * (1.0 - density)
    chest.vessels = chest.vessels * (1.0 - density)


def _spot(chest: Chest, f: Finding, rng: np.random.Generator, spread: float = 0.03) -> tuple[float, float]:
    out, high = CENTRES[f.zone]
    return (f.side or 1) * (out + rng.normal(0, spread)), high + rng.normal(0, spread / 2)


def _ragged(chest: Chest, centre: tuple[float, float], radii: tuple[float, float], how: float, rng: Any) -> Array:
    """A patch with an uneven border."""
    c = chest.canvas
    return blob(c.x, c.y, centre, radii) + np.float32(how) * c.cloud(rng, 14) + np.float32(how * 0.5) * c.cloud(rng, 34)


def _pleural_effusion(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """Fluid that hides the diaphragm, with a meniscus that climbs the chest wall."""
    for s in (f.side,) if f.side else (1,):
        out, y = s * chest.canvas.x, chest.canvas.y
        level = chest.dome[s] + (0.035, -0.13, -0.30)[f.level - 1]
        reach = np.clip(out / (0.84 * chest.width), 0.0, 1.1)
        top = level + 0.05 - (0.17, 0.16, 0.14)[f.level - 1] * reach**3
        fluid = step(y - top, 0.022) * step(out - 0.07, 0.05)
        _fill(chest, fluid, 0.55 + 0.42 * f.strength)


def _costophrenic_blunting(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """The costophrenic angle filled up."""
    for s in (f.side,) if f.side else (1,):
        out, y = s * chest.canvas.x, chest.canvas.y
        corner = step(y - (chest.dome[s] + 0.075 - 0.10 * np.clip((out - 0.5) / 0.35, 0, 1) ** 2), 0.03)
        _fill(chest, corner * step(out - 0.5, 0.06), 0.5 + 0.45 * f.strength)


def _pneumothorax(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A thin pleural line with black air and no markings beyond it."""
    for s in (f.side,) if f.side else (1,):
        amount = (0.10, 0.19, 0.34)[f.level - 1]
        if f.zone == "lower":
            lung = chest.shape(
                s, lateral=amount * 0.8 * np.clip((chest.canvas.y - 0.3) / 0.3, 0.15, 1), base=amount * 0.4
            )
        else:
            lung = chest.shape(s, lateral=amount, top=1.25 * amount)
        whole = chest.lung[s]
        empty = np.clip(whole - lung, 0.0, 1.0)
        line = 4.0 * lung * (1.0 - lung) * step(whole - 0.96, 0.05)
        # The heart hides the line where air lies on the diaphragm.
        line = line * np.maximum(step(0.70 - chest.canvas.y, 0.05), step(s * chest.canvas.x - 0.45, 0.10))
        chest.vessels = chest.vessels * (1.0 - empty)
        chest.air = np.where(empty > 0.5, np.maximum(chest.air, (0.9 + 0.25 * f.strength) * whole), chest.air)
        # What is left of the lung is denser than a full one.
        chest.air = chest.air * (1.0 - (0.05 + 0.35 * amount) * lung)
        chest.add = chest.add + (0.05 + 0.17 * f.strength) * line


def _consolidation(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A dense patch that hides the vessels, with a straight lower or upper border at the fissure."""
    centre = _spot(chest, f, rng)
    size = 0.24 + 0.05 * f.level
    mask = step(_ragged(chest, centre, (size, size * 0.85), 0.10, rng), 0.25)
    edge = centre[1] + (0.07 if centre[1] < 0.5 else -0.07)
    fissure = step((edge - chest.canvas.y) * (1 if centre[1] < 0.5 else -1), 0.012)
    _fill(chest, mask * fissure, 0.42 + 0.50 * f.strength)


def _air_bronchograms(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """Dark branches inside a dense patch."""
    x, y = _spot(chest, f, rng, 0.01)
    s = f.side or 1
    curves: list[tuple[Points, float, float]] = []
    for angle in (-0.6, -0.15, 0.3, 0.75):
        end = (x + s * 0.20 * np.cos(angle), y + 0.10 * np.sin(angle))
        curves.append((bezier((x - s * 0.13, y - 0.01), (x, y), end, 8), 0.017, 1.0))
    branch = chest.canvas.lines(curves, 0.004)
    chest.add = chest.add - (0.06 + 0.09 * f.strength) * branch * chest.lung[s]


def _pneumonia(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """Several fluffy patches that run into each other."""
    x, y = _spot(chest, f, rng)
    mask = np.zeros_like(chest.air)
    for dx, dy, size in ((0, 0, 0.17), (0.13, -0.05, 0.11), (-0.10, 0.05, 0.11), (0.06, 0.085, 0.10)):
        mask = np.maximum(mask, step(_ragged(chest, (x + dx, y + dy), (size, size), 0.22, rng), 0.5))
    _fill(chest, mask, (0.35 + 0.10 * f.level) * (0.4 + 0.6 * f.strength))


def _lung_opacity(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A hazy veil through which the vessels still show."""
    centre = _spot(chest, f, rng)
    mask = step(blob(chest.canvas.x, chest.canvas.y, centre, (0.34, 0.34)) + 0.05 * chest.canvas.cloud(rng, 9), 0.9)
    share = (0.30 + 0.07 * f.level) * (0.35 + 0.65 * f.strength)
    chest.air = chest.air * (1.0 - np.float32(share) * mask)


def _edema(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A butterfly of haze around the hila, thick blurred vessels."""
    c = chest.canvas
    for s in (f.side,) if f.side else (-1, 1):
        wing = step(_ragged(chest, (s * 0.34, 0.49), (0.34, 0.40), 0.10, rng), 0.75)
        chest.air = chest.air * (1.0 - (0.25 + 0.13 * f.level) * (0.35 + 0.65 * f.strength) * wing)
        net = np.clip(c.cloud(rng, 60) * 0.5 + c.cloud(rng, 90) * 0.5, 0, 2) * chest.lung[s]
        chest.air = chest.air * (1.0 - 0.10 * f.strength * net * (0.4 + 0.6 * wing))
    chest.vessels = chest.vessels * (1.0 + 0.5 * f.strength)


def _septal_lines(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """Short horizontal lines at the lower chest wall."""
    curves: list[tuple[Points, float, float]] = []
    for s in (-1, 1):
        for k in range(7):
            y = 0.60 + 0.026 * k
            wall = float(chest.wall(np.array([y], np.float32))[0])
            curves.append(([(s * wall * 0.985, y), (s * wall * 0.86, y + 0.004)], 0.006, 1.0))
    chest.add = chest.add + (0.05 + 0.10 * f.strength) * chest.canvas.lines(curves, 0.002) * chest.air


def _atelectasis(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """Plate-like bands, the lung pulled together around them."""
    curves: list[tuple[Points, float, float]] = []
    for s in (f.side,) if f.side else (1,):
        high = chest.dome[s] - (0.075 if f.zone != "mid" else 0.27)
        for k in range(1 + f.level):
            y = high - 0.045 * k + rng.normal(0, 0.006)
            start, end = 0.20 + 0.05 * k, 0.74 - 0.05 * k
            curves.append((bezier((s * start, y + 0.012), (s * 0.42, y - 0.01), (s * end, y - 0.004)), 0.026, 1.0))
    bands = chest.canvas.lines(curves, 0.004)
    _fill(chest, bands, 0.30 + 0.45 * f.strength)


def _lung_nodule(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A round dot with a sharp border."""
    centre, radius = _spot(chest, f, rng), 0.036 + 0.010 * f.level
    _fill(chest, step(blob(chest.canvas.x, chest.canvas.y, centre, (radius, radius)), 0.35), 0.45 + 0.45 * f.strength)


def _lung_mass(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A large lobulated ball."""
    x, y = _spot(chest, f, rng)
    size = 0.11 + 0.03 * f.level
    mask = step(blob(chest.canvas.x, chest.canvas.y, (x, y), (size, size)), 0.16)
    for angle in rng.uniform(0, 6.28, 4):
        bump = (x + 0.55 * size * np.cos(angle), y + 0.275 * size * np.sin(angle))
        mask = np.maximum(mask, step(blob(chest.canvas.x, chest.canvas.y, bump, (0.6 * size, 0.6 * size)), 0.2))
    _fill(chest, mask, 0.6 + 0.38 * f.strength)


def _pleural_thickening(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A band along the inside of the chest wall, or a cap over the apex."""
    y = chest.canvas.y
    for s in (f.side,) if f.side else (1,):
        amount = (0.05 + 0.02 * f.level) * (1.0 + 0.25 * np.sin(y * 47.0) * np.sin(y * 19.0))
        if f.zone == "apical":
            rest, where = chest.shape(s, lateral=0.4 * amount, top=2.6 * amount), step(0.30 - y, 0.06)
        else:
            rest, where = chest.shape(s, lateral=1.25 * amount), step(y - 0.42, 0.10) * step(0.80 - y, 0.10)
        _fill(chest, np.clip(chest.lung[s] - rest, 0, 1) * where, 0.5 + 0.45 * f.strength)


def _rib_fracture(chest: Chest, f: Finding, rng: np.random.Generator) -> None:
    """A rib in two pieces with a gap and a step between them."""
    s = f.side or 1
    y0 = {"upper": 0.28, "mid": 0.42, "lower": 0.58}.get(f.zone, 0.42) + rng.normal(0, 0.01)
    wall = float(chest.wall(np.array([y0], np.float32))[0])
    offset = 0.014 + 0.008 * f.level
    a = bezier((s * wall * 0.42, y0 - 0.035), (s * wall * 0.56, y0 - 0.030), (s * wall * 0.69, y0 - 0.010))
    b = bezier(
        (s * wall * 0.735, y0 - 0.004 + offset), (s * wall * 0.86, y0 + 0.02 + offset), (s * wall * 0.96, y0 + 0.06)
    )
    gap = chest.canvas.lines([([(s * wall * 0.715, y0 - 0.045), (s * wall * 0.715, y0 + 0.045)], 0.020, 1.0)], 0.003)
    bone = chest.canvas.lines([(a, 0.056, 1.0), (b, 0.056, 1.0)], 0.002)
    chest.add = chest.add + (0.10 + 0.16 * f.strength) * bone - (0.04 + 0.08 * f.strength) * gap


Draw = Callable[[Chest, Finding, np.random.Generator], None]
DRAW: dict[str, Draw] = {
    "pleural_effusion": _pleural_effusion,
    "costophrenic_blunting": _costophrenic_blunting,
    "pneumothorax": _pneumothorax,
    "consolidation": _consolidation,
    "air_bronchograms": _air_bronchograms,
    "pneumonia": _pneumonia,
    "lung_opacity": _lung_opacity,
    "edema": _edema,
    "septal_lines": _septal_lines,
    "atelectasis": _atelectasis,
    "lung_nodule": _lung_nodule,
    "lung_mass": _lung_mass,
    "pleural_thickening": _pleural_thickening,
    "rib_fracture": _rib_fracture,
}
