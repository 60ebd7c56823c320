"""Real DICOMs for tests: read in place from pydicom and pydicom-data, small variants made from them, nothing copied."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

SYNTAXES: dict[str, UID] = {
    "plain": ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
}


def real(name: str) -> Path:
    """A file of pydicom-data; the test skips where the package is absent."""
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return Path(path)


def variant(
    path: Path,
    pixels: NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.uint8],
    *,
    photometric: str = "MONOCHROME2",
    bits: int = 12,
    syntax: str = "plain",
) -> Path:
    """A digital X-ray for presentation, as MIMIC-CXR has them, with the pixels given."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, UID("2.25.1")
    dataset.Modality, dataset.ImageType = "DX", ["DERIVED", "PRIMARY"]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated = 8 if pixels.dtype.itemsize == 1 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    # Windows that the recipe must not apply.
    dataset.WindowCenter, dataset.WindowWidth = 100, 10
    dataset.PixelData = pixels.tobytes()
    if SYNTAXES[syntax] != ExplicitVRLittleEndian:
        dataset.compress(SYNTAXES[syntax], generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def radiograph(bits: int = 12, shape: tuple[int, int] = (96, 80), seed: int = 0) -> NDArray[np.uint16]:
    """Smooth grey values with noise over the whole range of `bits`."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    values = np.sin(rows / 17) * np.cos(columns / 11) + rng.normal(0, 0.05, shape)
    values = (values - values.min()) / (values.max() - values.min())
    return (values * ((1 << bits) - 1)).astype(np.uint16)
