"""What a phantom film is to show, and the geometry of the chest that normal anatomy and findings share."""

from dataclasses import dataclass, field

import numpy as np

from cxr_max.synth.canvas import Array, Canvas, Points, bezier, step


@dataclass(frozen=True)
class Finding:
    """One finding to be drawn: concept, side (-1 right, 1 left, 0 none), zone or "", level 1 to 3, strength 0 to 1."""

    concept: str
    side: int
    zone: str
    level: int
    strength: float


@dataclass(frozen=True)
class Film:
    """What one image is to show.

    Attributes:
        body: seed of the patient's build; the same for all films of a patient.
        exposure: seed of position, exposure and noise; its own for each film.
        lateral: a lateral view, else frontal.
        marker: draw the letter at the patient's left.
        findings: what is to be seen.
        noise: standard deviation of the noise in grey levels of 4095.
        portable: an anteroposterior film: wider heart, less inspiration.
    """

    body: int
    exposure: int
    lateral: bool = False
    marker: bool = True
    findings: tuple[Finding, ...] = ()
    noise: float = 25.0
    portable: bool = False


@dataclass
class Chest:
    """Geometry of one frontal film, and the maps that findings change.

    Attributes:
        canvas: the pixel grid.
        width: scale of the thorax; heart: half width of the heart; mediastinum: scale of its width;
            shift: sideways displacement of heart and mediastinum.
        dome: by side (-1, 1), height of the diaphragm's dome.
        lung: by side, the lung's shape 0 to 1; air: [H, W] how much air is left; add: [H, W] brightness on top.
        vessels: [H, W] lung markings, before they are put on.
    """

    canvas: Canvas
    width: float
    heart: float
    mediastinum: float
    shift: float
    dome: dict[int, float]
    lung: dict[int, Array] = field(default_factory=dict)
    air: Array = field(default_factory=lambda: np.zeros((1, 1), np.float32))
    add: Array = field(default_factory=lambda: np.zeros((1, 1), np.float32))
    vessels: Array = field(default_factory=lambda: np.zeros((1, 1), np.float32))

    def wall(self, y: Array) -> Array:
        """Distance of the chest wall's inner side from the midline."""
        depth = np.clip((y - 0.085) / 0.20, 0.0, None)
        return np.float32(0.84 * self.width) * np.power(1.0 - np.exp(-depth), 0.62).astype(np.float32)

    def floor(self, out: Array, side: int) -> Array:
        """Height of the diaphragm at a distance from the midline: a dome that falls to the costophrenic angle."""
        rise = np.where(out > 0.36, 0.17 * ((out - 0.36) / 0.46) ** 2, 0.05 * ((out - 0.36) / 0.36) ** 2)
        return (self.dome[side] + rise).astype(np.float32)

    def shape(
        self, side: int, lateral: float | Array = 0.0, top: float | Array = 0.0, base: float | Array = 0.0
    ) -> Array:
        """A lung, 0 to 1; its border may be drawn in from the wall, the apex or the base (shares of its size)."""
        x, y = self.canvas.x, self.canvas.y
        out, high = side * x, y
        if np.any(np.asarray(top) > 0):
            high = np.where(y < 0.5, 0.5 - (0.5 - y) / (1.0 - np.asarray(top)), y)
        low = self.floor(out, side) - np.asarray(base) * 0.4
        inside = self.wall(high) * (1.0 - np.asarray(lateral)) - out
        return step(inside, 0.022) * step(out - self._medial(y), 0.03) * step(low - y, 0.012)

    def _medial(self, y: Array) -> Array:
        return (0.10 + 0.05 * np.exp(-(((y - 0.33) / 0.10) ** 2))).astype(np.float32)


def rib(chest: Chest, k: int, side: int) -> tuple[Points, Points]:
    """Posterior and anterior part of rib k (0 to 8) as points."""
    top = 0.105 + 0.078 * k
    reach = float(chest.wall(np.array([min(0.9, top + 0.10)], np.float32))[0]) * 1.01
    reach = max(reach, 0.30)
    back = bezier((side * 0.07, top), (side * reach * 0.62, top - 0.035 + 0.006 * k), (side * reach, top + 0.085))
    front = bezier((side * reach, top + 0.085), (side * reach * 0.95, top + 0.17), (side * reach * 0.36, top + 0.225))
    return back, front
