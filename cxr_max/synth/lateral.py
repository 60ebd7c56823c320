"""The lateral view: chest in profile, breastbone on the image's left, spine on the right; sides cannot be told."""

import numpy as np

from cxr_max.synth.canvas import Array, Canvas, Points, bezier, blob, step
from cxr_max.synth.chest import Film, Finding

BODY, AIR = 0.70, 0.50


def draw_lateral(film: Film, canvas: Canvas) -> Array:
    """Brightness [H, W] of a lateral film."""
    rng = np.random.default_rng([film.body, 5])
    x, y = canvas.x, canvas.y
    have = {f.concept: f for f in film.findings}
    front = -0.62 + 0.20 * np.clip((0.40 - y) / 0.40, 0, 1) ** 1.5
    back = 0.62 - 0.16 * np.clip((0.30 - y) / 0.30, 0, 1) ** 2
    dome = 0.74 + 0.17 * np.clip((x + 0.25) / 0.85, 0, 1) ** 2 + 0.05 * np.clip((-0.25 - x) / 0.4, 0, 1) ** 2
    lung = (
        step(x - front, 0.03)
        * step(back - x, 0.04)
        * step(dome - y, 0.012)
        * step(y - 0.09 - 0.30 * (x - 0.05) ** 2, 0.05)
    )
    air = lung * (0.75 + 0.25 * np.clip(1 - np.abs(x) / 0.8, 0, 1))
    big = 1.0 + 0.12 * have["cardiomegaly"].level if "cardiomegaly" in have else 1.0
    heart = step(blob(x, y, (-0.22, 0.62), (0.33 * big, 0.36 * big)), 0.12)
    arch = step(blob(x, y, (0.05, 0.40), (0.16, 0.50)), 0.9) * 0.45
    air = air * (1.0 - np.maximum(0.85 * heart, arch))
    for finding in film.findings:
        air = air * (1.0 - _density(finding, canvas, rng, dome))
    body = step(0.86 - np.abs(x - 0.02) - 0.20 * np.clip((0.25 - y) / 0.25, 0, 1), 0.06)
    picture = body * (BODY - AIR * np.clip(air, 0, 1.1))
    discs = 0.10 * step(0.075 - np.abs(x - 0.66 + 0.10 * (y - 0.5) ** 2), 0.03) * (0.75 + 0.25 * np.sin(y * 92.0))
    ribs = []
    for k in range(9):
        top = 0.12 + 0.075 * k
        ribs.append((bezier((0.62, top), (0.0, top + 0.10), (-0.60, top + 0.20)), 0.035, 1.0))
    picture = picture + body * (discs + 0.035 * canvas.lines(ribs, 0.008))
    picture = picture + 0.08 * step(0.035 - np.abs(x - front + 0.05), 0.02) * body
    return np.asarray(_devices(film, canvas, picture), dtype=np.float32)


_PLACE = {
    "apical": (0.05, 0.18), "upper": (0.05, 0.28), "mid": (0.20, 0.46), "lower": (0.34, 0.68),
    "perihilar": (0.05, 0.46), "": (0.25, 0.55),
}  # fmt: skip
_SIZE = {
    "consolidation": (0.24, 0.24, 0.85), "pneumonia": (0.20, 0.22, 0.65), "lung_opacity": (0.30, 0.30, 0.45),
    "lung_mass": (0.17, 0.17, 0.9), "lung_nodule": (0.05, 0.05, 0.85), "edema": (0.45, 0.45, 0.35),
}  # fmt: skip


def _density(f: Finding, canvas: Canvas, rng: np.random.Generator, dome: Array) -> Array:
    """Share of the air that a finding takes away in profile."""
    x, y = canvas.x, canvas.y
    if f.concept in ("pleural_effusion", "costophrenic_blunting"):
        top = 0.83 - 0.11 * f.level * (f.concept == "pleural_effusion") - 0.08 * np.clip((x - 0.2) / 0.4, 0, 1) ** 2
        return (0.45 + 0.45 * f.strength) * step(y - top, 0.02) * step(x + 0.1, 0.3)
    if f.concept == "atelectasis":
        band = [(bezier((-0.1, 0.70), (0.15, 0.685), (0.4, 0.70)), 0.026, 1.0)]
        return (0.25 + 0.4 * f.strength) * canvas.lines(band, 0.004)
    if f.concept not in _SIZE:
        return np.zeros((1, 1), np.float32)
    across, high, share = _SIZE[f.concept]
    ragged = 0.0 if f.concept.startswith("lung_") else 0.12
    patch = blob(x, y, _PLACE[f.zone], (across, high)) + np.float32(ragged) * canvas.cloud(rng, 14)
    return np.float32(share * (0.4 + 0.6 * f.strength)) * step(patch, 0.3)


def _devices(film: Film, canvas: Canvas, picture: Array) -> Array:
    have = {f.concept for f in film.findings}
    if "pacemaker" in have:
        picture = np.maximum(picture, 1.02 * step(blob(canvas.x, canvas.y, (-0.52, 0.24), (0.05, 0.14)), 0.1))
        lead: Points = bezier((-0.5, 0.2), (-0.1, 0.2), (-0.3, 0.74))
        picture = picture + 0.4 * canvas.lines([(lead, 0.013, 1.0)], 0.0015)
    tubes = {
        "endotracheal_tube": [(-0.02, 0.0), (0.05, 0.28)],
        "enteric_tube": bezier((0.02, 0.0), (0.2, 0.5), (0.0, 0.92)),
        "central_line": bezier((-0.2, 0.0), (-0.05, 0.25), (-0.02, 0.45)),
        "chest_tube": bezier((0.3, 1.0), (0.5, 0.6), (0.25, 0.25)),
    }
    curves: list[tuple[Points, float, float]] = [(tubes[n], 0.016, 1.0) for n in tubes if n in have]
    return picture + 0.42 * canvas.lines(curves, 0.0015) if curves else picture
