"""What the chest phantom is drawn on: coordinates of the body, smooth shapes, soft noise and lines.

Body coordinates: x from -1 (the patient's right, on the left of the image) to 1, y from 0 (top) to 1 (bottom of the
frame). A lung's own coordinate runs from 0 at the spine to 1 at the chest wall, whatever its side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Array = npt.NDArray[Any]
Points = Sequence[tuple[float, float]]

ASPECT = 0.86
"""Half the width of the body frame, relative to half its height."""


@dataclass(frozen=True)
class Canvas:
    """Pixel grid with body coordinates.

    Attributes:
        height, width: pixels; half: pixels from the midline to x = 1.
        x: [1, W] and y: [H, 1] body coordinates.
    """

    height: int
    width: int
    half: float
    x: Array
    y: Array

    @classmethod
    def of(cls, height: int, width: int, tilt: float = 0.0) -> "Canvas":
        """A canvas of this many pixels; `tilt` moves the body sideways with y."""
        # Films that lie show broader patients, not only more of what is beside them.
        half = max(ASPECT * height, 0.82 * width) / 2
        x = ((np.arange(width, dtype=np.float32) - (width - 1) / 2) / half)[None, :]
        y = (np.arange(height, dtype=np.float32) / (height - 1))[:, None]
        return cls(height, width, half, (x + np.float32(tilt) * (y - 0.5)).astype(np.float32), y)

    def pixels(self, points: Points) -> list[tuple[float, float]]:
        """Body points as pixel positions."""
        return [(x * self.half + (self.width - 1) / 2, y * (self.height - 1)) for x, y in points]

    def lines(self, curves: Sequence[tuple[Points, float, float]], blur: float) -> Array:
        """Curves drawn as soft bands.

        Args:
            curves: (points, width in body units, brightness 0 to 1) each; later ones lie on top.
            blur: standard deviation in body units.

        Returns:
            float32 [H, W], 0 to 1.
        """
        image = Image.new("L", (self.width, self.height))
        draw = ImageDraw.Draw(image)
        for points, width, value in curves:
            thick = max(1, round(width * self.height / 2))
            draw.line(self.pixels(points), fill=round(255 * value), width=thick, joint="curve")
        soft = image.filter(ImageFilter.GaussianBlur(max(0.5, blur * self.height / 2)))
        return np.asarray(soft, dtype=np.float32) / np.float32(255)

    def cloud(self, rng: np.random.Generator, cells: int) -> Array:
        """Soft noise [H, W] with about `cells` bumps over the height; mean 0, standard deviation about 1."""
        rows, columns = cells, max(2, round(cells * self.width / self.height))
        coarse = rng.standard_normal((rows + 3, columns + 3)).astype(np.float32)
        image = Image.fromarray(coarse, "F").resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(image) * np.float32(1.2)


def step(distance: Array, width: float) -> Array:
    """0 to 1 across an edge of this width, 1 where the distance is positive."""
    t = np.clip(distance / np.float32(width) * np.float32(0.5) + np.float32(0.5), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)


def blob(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    """1 at the centre, 0 on the ellipse, negative outside; y counts in frame heights, doubled to match x."""
    dx, dy = (x - centre[0]) / radii[0], 2.0 * (y - centre[1]) / radii[1]
    return (1.0 - np.sqrt(dx * dx + dy * dy)).astype(np.float32)


def bezier(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], n: int = 24
) -> list[tuple[float, float]]:
    """Points of a quadratic curve from a to c drawn towards b."""
    t = np.linspace(0.0, 1.0, n)[:, None]
    points = (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * np.array(b) + t**2 * np.array(c)
    return [(float(p), float(q)) for p, q in points]
