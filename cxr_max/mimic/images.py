"""Radiographs to 8-bit grey: JPGs as they are, DICOMs by the recipe that made MIMIC-CXR-JPG.

The recipe (the dataset's maintainers, MIT-LCP/mimic-cxr issue 16): pixel values of one 2-D frame, minus their minimum,
divided by their maximum, times 255, truncated to 8 bits; inverted for MONOCHROME1; histogram-equalised as OpenCV's
`equalizeHist`. No window and no VOI LUT. JPGs of MIMIC-CXR-JPG went through it already and are never equalised again.
"""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.uid import DeflatedExplicitVRLittleEndian

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
    low, high = pixels.min(), pixels.max()
    span = int(high) - int(low) if pixels.dtype.kind in "ui" else _TABLE
    if span < _TABLE:
        return _by_table(pixels, low, span, photometric == "MONOCHROME1", equalize)
    grey = _rescale(pixels.astype(np.float64))
    if photometric == "MONOCHROME1":
        grey = np.invert(grey)
    return equalize_hist(grey) if equalize else grey


_TABLE = 1 << 20
"""Values up to this far apart go through one look-up table."""


def _by_table(pixels: NDArray[Any], low: Any, span: int, invert: bool, equalize: bool) -> Grey:
    """The whole recipe in one look-up per pixel; the table holds what its float64 arithmetic gives for each value."""
    table = _rescale(np.arange(span + 1, dtype=np.float64))
    if invert:
        table = np.invert(table)
    if equalize:
        counts = sum(np.bincount(part.ravel(), minlength=span + 1) for part in _above(pixels, low))
        table = _equalizing(np.bincount(table, weights=counts, minlength=256).astype(np.int64))[table]
    grey = np.empty(pixels.shape, np.uint8)
    for i, part in enumerate(_above(pixels, low)):
        grey[i * _ROWS : (i + 1) * _ROWS] = table[part]
    return grey


_ROWS = 256


def _above(pixels: NDArray[Any], low: Any) -> Iterator[NDArray[np.intp]]:
    """Values above the lowest, some rows at a time: indices take eight bytes a pixel."""
    for i in range(0, len(pixels), _ROWS):
        yield np.subtract(pixels[i : i + _ROWS], low, dtype=np.intp)


def _rescale(values: NDArray[np.float64]) -> Grey:
    if not np.isfinite(values).all():
        raise DataError("pixel values that are not finite")
    values = values - values.min()
    return (values / (values.max() or 1.0) * 255).astype(np.uint8)


def decode_image(path: Path | str, *, equalize: bool = True, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read one radiograph; see `read_image`.

    Raises:
        MissingFileError: no such file.
        DataError: not a readable JPG, PNG or DICOM radiograph, or more pixels than `max_pixels`.
    """
    path = Path(path)
    if not _is_dicom(path):
        return Decoded(np.asarray(_picture(path, max_pixels)), "jpg")
    return Decoded(_dicom(path, equalize, max_pixels), "dicom:equalized" if equalize else "dicom:rescaled")


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as e:
        raise MissingFileError(
            f"an image cannot be opened: {type(e).__name__}",
            next="join again with refresh, which looks for all images anew",
        ) from None
    return head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _dicom(path: Path, equalize: bool, max_pixels: int) -> Grey:
    if path.stat().st_size > max_pixels * 8:
        raise DataError(f"a DICOM file of {path.stat().st_size} bytes; at most {max_pixels * 8} allowed")
    # What pydicom warns of quotes header values.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _read_dicom(path)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
            frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
            photometric = str(dataset.PhotometricInterpretation)
        except DataError:
            raise
        except Exception as e:
            raise DataError(f"not a readable DICOM radiograph: {type(e).__name__}") from None
        values = rows * columns * frames * samples
        if min(rows, columns, frames, samples) < 1 or values > max_pixels:
            raise DataError(f"DICOM of {frames} x {rows} x {columns} x {samples} values; at most {max_pixels} allowed")
        if frames != 1 or samples != 1 or photometric not in PHOTOMETRIC:
            raise DataError(
                f"DICOM of {frames} frames, {samples} samples, {photometric[:16]!r}; one grey frame was expected"
            )
        try:
            _check_codestream(dataset, rows, columns)
            pixels = dataset.pixel_array
        except DataError:
            raise
        except Exception as e:
            raise DataError(f"DICOM pixel data cannot be decoded: {type(e).__name__}") from None
    return to_uint8(pixels, photometric, equalize=equalize)


def _read_dicom(path: Path) -> pydicom.Dataset:
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DataError("a deflated DICOM: its size in memory is not known beforehand, so it is not read")
    return pydicom.dcmread(path)


def _check_codestream(dataset: pydicom.Dataset, rows: int, columns: int) -> None:
    """Refuse a compressed image whose own header claims another size than the DICOM's: it decides what is allocated.

    Raises:
        DataError: it does.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    claimed = _codestream_size(frame)
    if claimed is not None and claimed != (rows, columns):
        raise DataError(f"compressed image of {claimed} in a DICOM of {(rows, columns)} rows and columns")


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns in the header of a JPEG 2000, JPEG or JPEG-LS stream; None for others (RLE has none)."""
    at = frame.find(b"\xff\x4f\xff\x51")
    if 0 <= at < 1_024 and len(frame) >= at + 24:
        width, height, x, y = (int.from_bytes(frame[at + 8 + 4 * i : at + 12 + 4 * i], "big") for i in range(4))
        return height - y, width - x
    if not frame.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        # SOF0 to SOF15 without DHT, JPG and DAC; SOF55 is JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + length
    return None


def _picture(path: Path, max_pixels: int) -> Image.Image:
    try:
        image: Image.Image = Image.open(path)
        with image:
            if image.width * image.height > max_pixels:
                raise DataError(f"image of {image.width} x {image.height} pixels; at most {max_pixels} allowed")
            if image.mode[0] in "IF":
                # Pillow would clip wide pixels at 255.
                return Image.fromarray(to_uint8(np.asarray(image), "MONOCHROME2", equalize=False))
            if image.mode != "L":
                return image.convert("L")
            image.load()
            return image
    except DataError:
        raise
    except Exception as e:
        raise DataError(f"image cannot be decoded: {type(e).__name__}") from None


def read_image(path: Path | str, *, equalize: bool = True) -> Image.Image:
    """One radiograph as 8-bit grey; `image.info["cxr_max_decode"]` tells how it was decoded.

    Args:
        path: a JPG (or PNG), taken as stored, or a DICOM, decoded by the official recipe.
        equalize: equalise DICOMs; JPGs never are, theirs are equalised already.

    Raises:
        MissingFileError, DataError: as `decode_image`.
    """
    if not _is_dicom(Path(path)):
        image, how = _picture(Path(path), MAX_PIXELS), "jpg"
    else:
        decoded = decode_image(path, equalize=equalize)
        image, how = Image.fromarray(decoded.pixels), decoded.path
    image.info[DECODE_KEY] = how
    return image


def resize(image: Image.Image, *, max_pixels: int, multiple: int = 1) -> Image.Image:
    """Scale an image down to a model's pixel budget, keeping its shape.

    Args:
        image: any mode.
        max_pixels: most pixels (width x height) the result may have; smaller images are not scaled up,
            other than to one patch.
        multiple: both sides become multiples of this (a vision model's patch size, 28 for Qwen2.5-VL).

    Raises:
        UsageError: a budget below one patch.
    """
    if multiple < 1 or max_pixels < multiple * multiple:
        raise UsageError(f"a budget of {max_pixels} pixels is below one patch of {multiple} x {multiple}")
    factor = min(1.0, math.sqrt(max_pixels / (image.width * image.height)))

    def side(length: int) -> int:
        return max(multiple, int(length * factor) // multiple * multiple)

    width, height = side(image.width), side(image.height)
    # A very thin image is one patch wide, which the longer side has to make up for.
    if width > height:
        width = min(width, max(multiple, max_pixels // height // multiple * multiple))
    else:
        height = min(height, max(multiple, max_pixels // width // multiple * multiple))
    if (width, height) == image.size:
        return image
    smaller = image.resize((width, height), Image.Resampling.BICUBIC)
    smaller.info = dict(image.info)
    return smaller
