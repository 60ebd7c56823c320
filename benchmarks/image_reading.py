"""Reading radiographs: JPGs against bare Pillow, DICOMs against the published recipe in OpenCV, 2 workers against 1.

python -m benchmarks.image_reading [--tiny]

Full-size images (3056 x 2544), smooth with noise, JPEG quality 95 and 12-bit DICOM; each side reads the same files in
turn, so that a busy machine slows both. Workers read over `Joined`'s PyTorch form, scaled to 1,003,520 pixels.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import pydicom
from PIL import Image

from benchmarks import common
from cxr_max import mimic
from cxr_max.mimic.features import Radiograph
from cxr_max.mimic.torch_dataset import TorchDataset
from cxr_max.optional import require

BUDGET = 1_003_520


def radiograph(shape: tuple[int, int], seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """12-bit grey values."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    values = np.sin(rows / 170) * np.cos(columns / 110 + seed) * 1_500 + 2_000 + rng.normal(0, 40, shape)
    return np.clip(values, 0, 4_095).astype(np.uint16)


def write(folder: Path, number: int, shape: tuple[int, int]) -> tuple[list[Path], list[Path]]:
    """JPGs and DICOMs."""
    jpgs, dicoms = [], []
    for i in range(number):
        pixels = radiograph(shape, i)
        jpgs.append(folder / f"{i}.jpg")
        Image.fromarray(mimic.to_uint8(pixels, "MONOCHROME2")).save(jpgs[-1], quality=95)
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.{i + 1}"
        dataset.Rows, dataset.Columns = shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = pixels.tobytes()
        dicoms.append(folder / f"{i}.dcm")
        dataset.save_as(dicoms[-1], enforce_file_format=True)
    return jpgs, dicoms


def bare(path: Path) -> object:
    """What Pillow alone does."""
    image = Image.open(path)
    image.load()
    return image


def opencv(path: Path) -> object:
    """The published conversion as its authors wrote it."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array - dataset.pixel_array.min()
    grey = ((pixels / pixels.max()) * 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = cv2.bitwise_not(grey)
    return cv2.equalizeHist(grey)


def in_turn(paths: list[Path], *readers: Callable[[Path], object]) -> list[float]:
    """Seconds per file of each reader, the median over the files, the readers taking turns on each."""
    rows = []
    for path in paths:
        row = []
        for read in readers:
            begun = time.perf_counter()
            read(path)
            row.append(time.perf_counter() - begun)
        rows.append(row)
    return [float(s) for s in np.median(np.array(rows), axis=0)]


def loading(paths: list[Path], workers: int) -> float:
    """Seconds to read all files with some workers, their start not counted."""
    rows = datasets.Dataset.from_dict({"image": [str(p) for p in paths]})
    rows = rows.cast_column("image", Radiograph(max_pixels=BUDGET))
    data = TorchDataset(rows, transform=lambda row: np.asarray(row["image"]).copy())
    loader = require("torch.utils.data", extra="train").DataLoader(
        data, batch_size=None, num_workers=workers, multiprocessing_context="fork", persistent_workers=True
    )
    list(loader)
    begun = time.perf_counter()
    assert sum(1 for _ in loader) == len(paths)
    return time.perf_counter() - begun


def main(tiny: bool) -> None:
    """Write files, read them, compare."""
    number, shape = (3, (300, 250)) if tiny else (16, (3_056, 2_544))
    cv2.setNumThreads(1)
    require("torch").set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        jpgs, dicoms = write(Path(name), number, shape)
        assert np.array_equal(np.asarray(mimic.read_image(dicoms[0])), opencv(dicoms[0]))
        assert np.array_equal(np.asarray(mimic.read_image(jpgs[0])), np.asarray(bare(jpgs[0])))
        ours_jpg, pillow = in_turn(jpgs * 3, mimic.read_image, bare)
        ours_dicom, theirs = in_turn(dicoms * 2, mimic.read_image, opencv)
        figures: dict[str, Any] = {
            "images": number,
            "shape": shape,
            "jpg_s": {"ours": round(ours_jpg, 4), "pillow": round(pillow, 4), "ratio": round(ours_jpg / pillow, 3)},
            "dicom_s": {
                "ours": round(ours_dicom, 4),
                "opencv": round(theirs, 4),
                "ratio": round(ours_dicom / theirs, 3),
            },
        }
        for kind, paths in (("jpg", jpgs), ("dicom", dicoms)):
            # One and two workers in turn, three times: the median of the ratios.
            pairs = [(loading(paths, 1), loading(paths, 2)) for _ in range(1 if tiny else 3)]
            figures[f"workers_{kind}"] = {
                "one_s": round(float(np.median([a for a, _ in pairs])), 3),
                "two_s": round(float(np.median([b for _, b in pairs])), 3),
                "ratio": round(float(np.median([a / b for a, b in pairs])), 2),
            }
    common.write("image_reading", figures, tiny=tiny, packages=("pillow", "pydicom", "numpy", "torch", "datasets"))


if __name__ == "__main__":
    common.run(main, __doc__)
