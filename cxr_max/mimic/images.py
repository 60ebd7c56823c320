"""Radiographs to 8-bit grey: JPGs as they are, DICOMs by the recipe that made MIMIC-CXR-JPG.

The recipe (the dataset's maintainers, MIT-LCP/mimic-cxr issue 16): pixel values of one 2-D frame, minus their minimum,
divided by their maximum, times 255, truncated to 8 bits; inverted for MONOCHROME1; histogram-equalised as OpenCV's
`equalizeHist`. No window and no VOI LUT. JPGs of MIMIC-CXR-JPG went through it already and are never equalised again.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from cxr_max.errors import DataError, MissingFileError, UsageError

Grey = NDArray[np.uint8]

MAX_PIXELS = 100_000_000
"""More than six times the largest radiograph of MIMIC-CXR; what claims more is refused before memory is taken."""

PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
DECODE_KEY = "cxr_max_decode"
"""Key of `PIL.Image.info` that tells how the pixels came about."""


class Decoded(NamedTuple):
    """One radiograph.

    Attributes:
        pixels: uint8 [H, W].
        path: how it was decoded: `jpg` (as stored), `dicom:equalized` or `dicom:rescaled`.
    """

    pixels: Grey
    path: str


def equalize_hist(u8: Grey) -> Grey:
    """Histogram equalisation, value for value that of OpenCV's `equalizeHist`.

    Args:
        u8: uint8 of any shape.

    Returns:
        uint8 of the same shape; an image of one single value comes back unchanged.

    Raises:
        UsageError: not uint8.
    """
    if u8.dtype != np.uint8:
        raise UsageError(f"equalize_hist takes uint8, {u8.dtype} came")
    counts = np.bincount(u8.ravel(), minlength=256)
    return _equalizing(counts)[u8] if u8.size else u8.copy()


def _equalizing(counts: NDArray[np.intp]) -> Grey:
    """The 256-entry look-up table for a histogram; float32 and rounding half to even, as OpenCV computes it."""
    lut = np.arange(256, dtype=np.uint8)
    first = int(np.argmax(counts > 0))
    rest = int(counts.sum() - counts[first])
    if not rest:
        return lut
    scale = np.float32(255.0) / np.float32(rest)
    seen = np.cumsum(counts[first + 1 :]).astype(np.float32)
    lut[: first + 1] = 0
    lut[first + 1 :] = np.clip(np.rint(seen * scale), 0, 255).astype(np.uint8)
    return lut


def to_uint8(pixels: NDArray[np.generic], photometric: str, *, equalize: bool = True) -> Grey:
    """Stored pixel values to 8-bit grey by the official DICOM->JPG recipe (see the module).

    Args:
        pixels: [H, W], integers or floats of any range, as stored (no rescale, window or VOI LUT applied).
        photometric: MONOCHROME1 (inverted) or MONOCHROME2.
        equalize: the recipe's last step; off gives the rescaled image alone.

    Returns:
        uint8 [H, W]. Where all values are equal the recipe divides by zero; here the image is 0 (255 if inverted).

    Raises:
        DataError: not one 2-D frame, empty, not finite, or another photometric interpretation.
    """
    if photometric not in PHOTOMETRIC:
        raise DataError(f"photometric interpretation {photometric[:32]!r}; allowed: {', '.join(PHOTOMETRIC)}")
    if pixels.ndim != 2 or not pixels.size:
        raise DataError(f"one grey frame [H, W] was expected, an array of shape {pixels.shape} came")
    grey = _rescale(pixels)
    if photometric == "MONOCHROME1":
        grey = np.invert(grey)
    return equalize_hist(grey) if equalize else grey


def _rescale(pixels: NDArray[np.generic]) -> Grey:
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind in "ui" and int(high) - int(low) < 1 << 20:
        # One table look-up a pixel; the table holds what the recipe's float64 arithmetic gives for each value.
        span = int(high) - int(low)
        table = (np.arange(span + 1) / max(span, 1) * 255).astype(np.uint8)
        wide: NDArray[np.int64] = np.subtract(pixels, low, dtype=np.int64)
        return table[wide]
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("pixel values that are not finite")
    values -= float(low)
    return (values / (values.max() or 1.0) * 255).astype(np.uint8)


def decode_image(path: Path | str, *, equalize: bool = True, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read one radiograph; see `read_image`.

    Raises:
        MissingFileError: no such file.
        DataError: not a readable JPG, PNG or DICOM radiograph, or more pixels than `max_pixels`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as e:
        raise MissingFileError(
            f"an image cannot be opened: {type(e).__name__}",
            next="join again with refresh, which looks for all images anew",
        ) from None
    if head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        return Decoded(_dicom(path, equalize, max_pixels), "dicom:equalized" if equalize else "dicom:rescaled")
    return Decoded(_picture(path, max_pixels), "jpg")


def _dicom(path: Path, equalize: bool, max_pixels: int) -> Grey:
    try:
        dataset = pydicom.dcmread(path)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
        photometric = str(dataset.PhotometricInterpretation)
    except Exception as e:
        raise DataError(f"not a readable DICOM radiograph: {type(e).__name__}") from e
    if min(rows, columns, frames, samples) < 1 or rows * columns * frames * samples > max_pixels:
        raise DataError(f"DICOM claims {frames} x {rows} x {columns} x {samples} values; at most {max_pixels} allowed")
    try:
        pixels = dataset.pixel_array
    except Exception as e:
        raise DataError(f"DICOM pixel data cannot be decoded: {type(e).__name__}") from e
    return to_uint8(pixels, photometric, equalize=equalize)


def _picture(path: Path, max_pixels: int) -> Grey:
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise DataError(f"image of {image.width} x {image.height} pixels; at most {max_pixels} allowed")
            return np.asarray(image.convert("L"))
    except DataError:
        raise
    except Exception as e:
        raise DataError(f"image cannot be decoded: {type(e).__name__}") from e


def read_image(path: Path | str, *, equalize: bool = True) -> Image.Image:
    """One radiograph as 8-bit grey; `image.info["cxr_max_decode"]` tells how it was decoded.

    Args:
        path: a JPG (or PNG), taken as stored, or a DICOM, decoded by the official recipe.
        equalize: equalise DICOMs; JPGs never are, theirs are equalised already.

    Raises:
        MissingFileError, DataError: as `decode_image`.
    """
    decoded = decode_image(path, equalize=equalize)
    image = Image.fromarray(decoded.pixels)
    image.info[DECODE_KEY] = decoded.path
    return image


def resize(image: Image.Image, *, max_pixels: int, multiple: int = 1) -> Image.Image:
    """Scale an image down to a model's pixel budget, keeping its shape.

    Args:
        image: any mode.
        max_pixels: most pixels (width x height) the result may have; smaller images are not scaled up.
        multiple: both sides become multiples of this (a vision model's patch size, 28 for Qwen2.5-VL).

    Raises:
        UsageError: a budget below one patch.
    """
    if multiple < 1 or max_pixels < multiple * multiple:
        raise UsageError(f"a budget of {max_pixels} pixels is below one patch of {multiple} x {multiple}")
    factor = min(1.0, math.sqrt(max_pixels / (image.width * image.height)))

    def side(length: int) -> int:
        return max(multiple, int(length * factor) // multiple * multiple)

    size = side(image.width), side(image.height)
    if size == image.size:
        return image
    smaller = image.resize(size, Image.Resampling.BICUBIC)
    smaller.info = dict(image.info)
    return smaller
