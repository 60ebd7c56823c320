"""From the latent world to pixels and files: what each film shows, JPG by the official recipe, DICOM like MIMIC-CXR."""

import io
import zlib
from pathlib import Path
from statistics import NormalDist

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from cxr_max.mimic.images import to_uint8
from cxr_max.synth import tables
from cxr_max.synth.canvas import Array
from cxr_max.synth.chest import Film, Finding
from cxr_max.synth.concepts import BOTH, LEFT, NONE, ZONES, concepts
from cxr_max.synth.config import WorldConfig
from cxr_max.synth.phantom import GREY, render
from cxr_max.synth.world import World

JPEG_QUALITY = 95
SYNTAXES: tuple[tuple[UID, float], ...] = (
    (ExplicitVRLittleEndian, 0.4),
    (RLELossless, 0.2),
    (JPEGLSLossless, 0.2),
    (JPEG2000Lossless, 0.2),
)
"""Transfer syntaxes and how often each is used; MIMIC-CXR's own shares are not published."""
MONOCHROME1_SHARE = 0.3


def findings_of(world: World, s: int, config: WorldConfig) -> tuple[Finding, ...]:
    """What a film of study `s` has to show: both sides of a bilateral finding, fainter where it is hard."""
    out = []
    for i in world.present[s].nonzero()[0]:
        code, zone = int(world.side[s, i]), int(world.zone[s, i])
        hard = NormalDist().cdf(0.7071 * float(world.difficulty[s] + world.hardness[s, i]))
        strength = min(1.0, config.contrast * (1.0 - config.subtlety * hard))
        sides = (-1, 1) if code == BOTH else (0,) if code == NONE else (1 if code == LEFT else -1,)
        name = ZONES[zone] if zone >= 0 else ""
        out += [Finding(concepts()[i].id, side, name, int(world.level[s, i]), strength) for side in sides]
    return tuple(out)


def film_of(world: World, m: int, config: WorldConfig) -> Film:
    """The film of image `m`; a re-exposure is the film it was made from."""
    source = int(world.copy_of[m]) if world.copy_of[m] >= 0 else m
    s = int(world.image_study[m])
    return Film(
        body=zlib.crc32(f"{config.seed}/{world.subject_id[world.study_subject[s]]}".encode()),
        exposure=zlib.crc32(f"{config.seed}/{world.dicom_id[source]}".encode()),
        lateral=str(world.view[m]) in ("LATERAL", "LL"),
        findings=findings_of(world, s, config),
        noise=config.noise,
        portable=bool(world.portable[s]),
    )


def pixels(world: World, m: int, config: WorldConfig) -> tuple[Array, str]:
    """Stored values [H, W] of image `m`, 12 bits, and its photometric interpretation."""
    grey = render(film_of(world, m, config), *tables.shape(str(world.view[m]), config.size))
    chance = np.random.default_rng(zlib.crc32(str(world.dicom_id[m]).encode()))
    if world.copy_of[m] >= 0:
        grey = (np.power(grey / GREY, chance.uniform(0.8, 1.2)) * GREY * chance.uniform(0.75, 0.95)).astype(np.uint16)
    inverted = chance.random() < MONOCHROME1_SHARE
    return (GREY - grey, "MONOCHROME1") if inverted else (grey, "MONOCHROME2")


def write_images(world: World, root: Path, config: WorldConfig) -> None:
    """Write every image of a part of the world into the tree."""
    for m in range(len(world.dicom_id)):
        stored, photometric = pixels(world, m, config)
        path = root / tables.image_path(world, m)
        path.parent.mkdir(parents=True, exist_ok=True)
        if config.format in ("jpg", "both"):
            path.write_bytes(jpg(to_uint8(stored, photometric)))
        if config.format in ("dicom", "both"):
            dataset = dicom(stored, photometric, str(world.dicom_id[m]))
            describe(dataset, world, m)
            dataset.save_as(path.with_suffix(".dcm"), enforce_file_format=True)


def jpg(grey: Array) -> bytes:
    """An 8-bit grey picture as JPEG of the official quality, with a comment that it is synthetic."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"SYNTHETIC")
    return buffer.getvalue()


def dicom(stored: Array, photometric: str, name: str) -> Dataset:
    """A digital X-ray object with these stored values; its name decides transfer syntax and UIDs."""
    chance = np.random.default_rng(zlib.crc32(f"{name}/syntax".encode()))
    syntax = [s for s, _ in SYNTAXES][int(chance.choice(len(SYNTAXES), p=[p for _, p in SYNTAXES]))]
    uid = UID(f"2.25.{int.from_bytes(name.encode()[:40], 'big') % 10**36 + 1}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.170982")
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, uid
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.Modality = "DX"
    dataset.ImageComments = "SYNTHETIC"
    dataset.BurnedInAnnotation = "NO"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, stored, generate_instance_uid=False)
    return dataset


def describe(dataset: Dataset, world: World, m: int) -> None:
    """Fill in whose image it is, as MIMIC-CXR's headers do: the accession number carries the study."""
    s = int(world.image_study[m])
    view = str(world.view[m])
    dataset.PatientID = str(int(world.subject_id[world.study_subject[s]]))
    dataset.PatientName = ""
    dataset.AccessionNumber = dataset.StudyID = str(int(world.study_id[s]))
    dataset.StudyDescription = ""
    dataset.StudyInstanceUID = UID(f"2.25.{int(world.study_id[s])}")
    dataset.SeriesInstanceUID = UID(f"2.25.{int(world.study_id[s])}{m}")
    dataset.StudyDate, dataset.StudyTime = str(int(world.date[s])), f"{float(world.time[s]):010.3f}"
    dataset.ViewPosition = "" if world.view_missing[m] else view
    if world.view_missing[m]:
        # The official fill-in of missing views reads this tag.
        dataset.AcquisitionDeviceProcessingDescription = f"CHEST {'LAT' if view in ('LATERAL', 'LL') else view}"
