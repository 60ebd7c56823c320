"""A parametric chest radiograph: thorax, lungs, ribs, heart, mediastinum, diaphragm, clavicles, findings and noise.

The frontal film is a map of how much air the beam meets. Soft tissue of any origin takes air away; bones and devices
lie on top. So findings overlap as they do on films: an effusion hides the diaphragm, a consolidation the vessels.
"""

import numpy as np

from cxr_max.synth import devices, lesions
from cxr_max.synth.canvas import Array, Canvas, bezier, blob, step
from cxr_max.synth.chest import Chest, Film, Finding, rib
from cxr_max.synth.lateral import draw_lateral

GREY = 4095
"""Largest stored value: 12 bits."""
BODY, AIR = 0.66, 0.50
"""Brightness of the body without air, and how much a full lung takes from it."""


def render(film: Film, height: int, width: int) -> Array:
    """Draw a film.

    Returns:
        uint16 [H, W], 0 to 4095, dense parts bright (as MONOCHROME2 stores them).
    """
    rng = np.random.default_rng([film.exposure, 1])
    canvas = Canvas.of(height, width, tilt=float(rng.normal(0, 0.02)))
    picture = draw_lateral(film, canvas) if film.lateral else draw_frontal(film, canvas)
    if film.marker and not film.lateral:
        picture = np.maximum(picture, _marker(canvas, rng))
    return expose(picture, film.noise, rng)


def expose(picture: Array, noise: float, rng: np.random.Generator) -> Array:
    """Grey levels of a brightness map: exposure, response and noise."""
    gain, gamma, offset = rng.uniform(0.80, 0.95), rng.uniform(0.9, 1.15), rng.uniform(0.02, 0.05)
    grey = offset + gain * np.power(np.clip(picture, 0.0, 1.15), np.float32(gamma))
    speckle = rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(noise)
    stored: Array = np.clip(grey * GREY + speckle * (0.25 + 1.1 * grey), 0, GREY).astype(np.uint16)
    return stored


def draw_frontal(film: Film, canvas: Canvas) -> Array:
    """Brightness [H, W] of a frontal film."""
    chest = _build(film, canvas)
    for side in (-1, 1):
        chest.lung[side] = chest.shape(side)
    chest.air = chest.lung[-1] + chest.lung[1]
    rng = np.random.default_rng([film.body, 2])
    chest.vessels = _vessels(chest, rng)
    chest.add = np.zeros((canvas.height, canvas.width), np.float32)
    shading = 0.80 + 0.20 * np.clip(1.0 - np.abs(canvas.x) / 0.95, 0.0, 1.0)
    chest.air = chest.air * shading
    detail = np.random.default_rng([film.body, 3])
    for finding in film.findings:
        if finding.concept in lesions.DRAW:
            lesions.DRAW[finding.concept](chest, finding, detail)
    _heart(chest)
    body = _body(canvas)
    bones = _bones(chest, rng)
    picture = body * (BODY - AIR * np.clip(chest.air, 0.0, 1.1) + 0.85 * chest.vessels * np.clip(chest.air, 0.0, 1.0))
    picture = picture + 0.05 * canvas.cloud(rng, 5) * body * 0.3
    # Bone stands out less against dense tissue than against air.
    picture = picture + body * bones * (0.35 + 0.65 * np.clip(1.6 * chest.air, 0.0, 1.0)) + chest.add
    for finding in film.findings:
        if finding.concept in devices.DRAW:
            picture = devices.DRAW[finding.concept](chest, finding, picture)
    return np.asarray(picture, dtype=np.float32)


def _build(film: Film, canvas: Canvas) -> Chest:
    """Geometry of the patient and what findings do to it."""
    rng = np.random.default_rng([film.body, 1])
    have = {f.concept: f for f in film.findings}
    width, low = rng.uniform(0.93, 1.0), rng.uniform(-0.015, 0.015) - 0.02 * film.portable
    heart = rng.uniform(0.31, 0.36) + 0.015 * film.portable
    if "cardiomegaly" in have:
        f = have["cardiomegaly"]
        heart = 0.36 + (0.10 + 0.06 * f.level) * min(1.2, 0.5 + 0.5 * f.strength)
    mediastinum = 1.0
    if "enlarged_cardiomediastinum" in have:
        f = have["enlarged_cardiomediastinum"]
        mediastinum = 1.5 + (0.25 + 0.2 * f.level) * f.strength
    dome = {-1: 0.765 + low, 1: 0.785 + low}
    shift = 0.0
    for f in film.findings:
        sides = (f.side,) if f.side else ()
        if f.concept == "hemidiaphragm_elevation":
            for s in sides:
                dome[s] -= 0.075 + 0.02 * f.level
        if f.concept == "volume_loss":
            for s in sides:
                dome[s] -= 0.03 + 0.01 * f.level
                shift += s * 0.03
        if f.concept == "mediastinal_shift":
            shift += _away(film.findings) * (0.07 + 0.02 * f.level)
    return Chest(canvas, width, heart, mediastinum, shift, dome)


def _away(findings: tuple[Finding, ...]) -> int:
    """Direction away from the side of air or fluid; to the left when there is none."""
    sides = [f.side for f in findings if f.concept in ("pneumothorax", "pleural_effusion") and f.side]
    return -sides[0] if sides else 1


def _heart(chest: Chest) -> None:
    """Heart, great vessels and mediastinum take the air away."""
    x, y = chest.canvas.x - np.float32(chest.shift), chest.canvas.y
    h, wide = chest.heart, chest.mediastinum
    left = blob(x, y, (0.10 + 0.30 * (h - 0.30), 0.665), (h * 1.12, 0.36 + 0.25 * (h - 0.33)))
    right = blob(x, y, (-0.03, 0.66), (0.62 * h, 0.30))
    column = step(0.115 * (1 + 0.9 * (wide - 1)) + 0.03 * np.clip((y - 0.35) / 0.4, 0, 1) - np.abs(x), 0.05)
    knob = blob(x, y, (0.13 * wide, 0.335), (0.085 * wide, 0.12))
    upper = blob(x, y, (-0.02, 0.30), (0.15 * wide, 0.42)) if wide > 1.1 else np.float32(-1.0)
    hila = blob(x, y, (-0.17, 0.47), (0.09, 0.15)), blob(x, y, (0.18, 0.45), (0.09, 0.15))
    mass = np.maximum.reduce([0.97 * step(left, 0.10), 0.90 * step(right, 0.14), 0.93 * column, 0.9 * step(knob, 0.2)])
    mass = np.maximum(mass, 0.93 * step(np.broadcast_to(upper, mass.shape), 0.12))
    for hilum in hila:
        mass = np.maximum(mass, 0.35 * step(hilum, 0.6))
    chest.air = chest.air * (1.0 - mass)
    chest.vessels = chest.vessels * (1.0 - mass)
    windpipe = chest.canvas.lines([([(chest.shift * 0.6, 0.0), (chest.shift, 0.36)], 0.075, 1.0)], 0.012)
    chest.air = np.maximum(chest.air, 0.34 * windpipe)
    bubble = step(blob(chest.canvas.x, y, (0.42, chest.dome[1] + 0.075), (0.13, 0.07)), 0.4)
    chest.air = np.maximum(chest.air, 0.40 * bubble)


def _body(canvas: Canvas) -> Array:
    """The body's outline: neck, shoulders, flanks; 0 outside, 1 inside."""
    out, y = np.abs(canvas.x), canvas.y
    shoulder = 0.22 + 1.1 * np.clip((y - 0.015) / 0.13, 0.0, 1.0) ** 1.3
    side = np.where(y < 0.25, shoulder, 1.32 - 0.24 * np.clip((y - 0.25) / 0.25, 0, 1) ** 1.2)
    return step(side - out, 0.05) * (0.94 + 0.06 * step(0.3 - out, 0.5))


def _vessels(chest: Chest, rng: np.random.Generator) -> Array:
    """Branching lung markings that fan out from both hila and fade toward the wall."""
    curves = []
    for side in (-1, 1):
        root = (side * 0.17, 0.46)
        for _ in range(16):
            angle = rng.uniform(-1.25, 1.35)
            length = rng.uniform(0.30, 0.62)
            end = (root[0] + side * length * np.cos(angle), root[1] + 0.5 * length * np.sin(angle))
            bend = (root[0] + side * 0.5 * length * np.cos(angle * 0.7), root[1] + 0.25 * length * np.sin(angle * 1.2))
            points = bezier(root, bend, end, 12)
            for k in range(0, 11):
                fade = 1.0 - k / 13
                curves.append((points[k : k + 2], 0.020 * fade, 0.30 * fade))
    return chest.canvas.lines(curves, 0.006) * 0.55


def _bones(chest: Chest, rng: np.random.Generator) -> Array:
    """Ribs with dense borders, clavicles, spine."""
    del rng
    outer, inner, front = [], [], []
    for side in (-1, 1):
        for k in range(9):
            back, ahead = rib(chest, k, side)
            outer.append((back, 0.050, 1.0))
            inner.append((back, 0.028, 1.0))
            front.append((ahead, 0.046, 1.0))
        collar = bezier((side * 0.10, 0.185), (side * 0.35, 0.10), (side * 0.78, 0.085))
        outer.append((collar, 0.058, 1.0))
        inner.append((collar, 0.030, 0.8))
    lines = chest.canvas.lines
    ribs = 0.105 * lines(outer, 0.005) - 0.045 * lines(inner, 0.006) + 0.042 * lines(front, 0.010)
    x, y = chest.canvas.x, chest.canvas.y
    spine = 0.07 * step(0.085 - np.abs(x), 0.03) * (0.8 + 0.2 * np.sin(2 * np.pi * y / 0.066))
    return np.asarray(ribs + spine, dtype=np.float32)


def _marker(canvas: Canvas, rng: np.random.Generator) -> Array:
    """The letter L in lead at the patient's left."""
    x, y = rng.uniform(0.80, 0.9), rng.uniform(0.035, 0.06)
    return canvas.lines([([(x, y), (x, y + 0.035), (x + 0.045, y + 0.035)], 0.016, 1.0)], 0.002)
