"""Tubes, lines and implants on a frontal film: bright curves and boxes on top of everything else."""

from collections.abc import Callable

import numpy as np

from cxr_max.synth.canvas import Array, Points, bezier, blob, step
from cxr_max.synth.chest import Chest, Finding

Curve = tuple[Points, float, float]


def _over(chest: Chest, picture: Array, curves: list[Curve], bright: float, blur: float = 0.0015) -> Array:
    """Lay curves over a picture; they add to what is below, up to full white."""
    return picture + np.float32(bright) * chest.canvas.lines(curves, blur)


def _endotracheal_tube(chest: Chest, f: Finding, picture: Array) -> Array:
    x = chest.shift
    tube: Points = [(0.02, 0.0), (0.015, 0.12), (x, 0.295)]
    picture = _over(chest, picture, [([(a - 0.017, b) for a, b in tube], 0.007, 1.0)], 0.30)
    picture = _over(chest, picture, [([(a + 0.017, b) for a, b in tube], 0.007, 1.0)], 0.30)
    return _over(chest, picture, [(tube, 0.010, 1.0)], 0.45)


def _enteric_tube(chest: Chest, f: Finding, picture: Array) -> Array:
    down = bezier((-0.03, 0.0), (0.05, 0.45), (0.06, 0.80))
    curl = bezier((0.06, 0.80), (0.14, 0.93), (0.38, 0.90))
    return _over(chest, picture, [([*down, *curl], 0.013, 1.0)], 0.42)


def _central_line(chest: Chest, f: Finding, picture: Array) -> Array:
    """From the neck or the shoulder of its side down to the superior vena cava, which lies on the right."""
    curves: list[Curve] = []
    for s in (f.side,) if f.side else (-1,):
        into = bezier((s * 0.62, 0.055), (s * 0.30, 0.17), (s * 0.10 - 0.02, 0.245))
        down = bezier((s * 0.10 - 0.02, 0.245), (-0.10, 0.28), (-0.105, 0.47))
        curves.append(([*into, *down], 0.012, 1.0))
    return _over(chest, picture, curves, 0.50)


def _pacemaker(chest: Chest, f: Finding, picture: Array) -> Array:
    """A metal box below the collar bone with two leads into the heart."""
    s = f.side or 1
    x, y = chest.canvas.x, chest.canvas.y
    box = step(blob(x, y, (s * 0.60, 0.235), (0.13, 0.15)), 0.08)
    rim = step(blob(x, y, (s * 0.60, 0.235), (0.09, 0.10)), 0.3)
    picture = np.maximum(picture, (1.02 - 0.14 * rim) * box)
    into = bezier((s * 0.56, 0.19), (s * 0.25, 0.13), (-0.06, 0.30))
    leads: list[Curve] = [
        ([*into, *bezier((-0.06, 0.30), (-0.12, 0.48), (-0.09, 0.60))], 0.013, 1.0),
        ([*into, *bezier((-0.06, 0.30), (-0.14, 0.76), (0.26, 0.755))], 0.013, 1.0),
    ]
    return _over(chest, picture, leads, 0.42)


def _chest_tube(chest: Chest, f: Finding, picture: Array) -> Array:
    """A wide tube with a bright stripe from the lateral chest wall up to the apex."""
    for s in (f.side,) if f.side else (1,):
        path = [
            *bezier((s * 1.05, 0.66), (s * 0.72, 0.56), (s * 0.60, 0.42)),
            *bezier((s * 0.60, 0.42), (s * 0.5, 0.28), (s * 0.34, 0.20)),
        ]
        picture = _over(chest, picture, [(path, 0.050, 1.0)], 0.10)
        picture = _over(chest, picture, [(path, 0.014, 1.0)], 0.45)
    return picture


Draw = Callable[[Chest, Finding, Array], Array]
DRAW: dict[str, Draw] = {
    "endotracheal_tube": _endotracheal_tube,
    "enteric_tube": _enteric_tube,
    "central_line": _central_line,
    "pacemaker": _pacemaker,
    "chest_tube": _chest_tube,
}
