"""DICOM to 8-bit grey: real radiographs, every bit depth, photometric and transfer syntax, and files that are wrong."""

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from cxr_max import mimic
from cxr_max.errors import DataError, MissingFileError
from tests.mimic import dicoms
from tests.mimic.test_images import recipe


def off(ours: np.ndarray, theirs: np.ndarray) -> int:
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG3_UNCR.dcm"])
def test_real_radiographs(name: str) -> None:
    path = dicoms.real(name)
    dataset = pydicom.dcmread(path)
    image = mimic.read_image(path)
    assert image.mode == "L"
    assert image.info["cxr_max_decode"] == "dicom:equalized"
    assert off(np.asarray(image), recipe(dataset.pixel_array, dataset.PhotometricInterpretation)) <= 1


def test_the_same_radiograph_compressed_without_loss_is_the_same() -> None:
    plain, compressed = (mimic.decode_image(dicoms.real(n)) for n in ("RG1_UNCR.dcm", "RG1_J2KR.dcm"))
    assert np.array_equal(plain.pixels, compressed.pixels)


def test_without_equalisation_the_path_says_so() -> None:
    image = mimic.read_image(dicoms.real("RG1_UNCR.dcm"), equalize=False)
    assert image.info["cxr_max_decode"] == "dicom:rescaled"
    pixels = np.asarray(image)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert off(cv2.equalizeHist(pixels), np.asarray(mimic.read_image(dicoms.real("RG1_UNCR.dcm")))) <= 1


@pytest.mark.parametrize("syntax", dicoms.SYNTAXES)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
def test_every_depth_and_transfer_syntax(bits: int, photometric: str, syntax: str, tmp_path: Path) -> None:
    pixels = dicoms.radiograph(bits)
    stored = pixels.astype(np.uint8) if bits == 8 else pixels
    path = dicoms.variant(tmp_path / "x.dcm", stored, photometric=photometric, bits=bits, syntax=syntax)
    assert off(mimic.decode_image(path).pixels, recipe(pixels, photometric)) <= 1


def test_signed_pixels(tmp_path: Path) -> None:
    pixels = (dicoms.radiograph(12).astype(np.int32) - 2_048).astype(np.int16)
    path = dicoms.variant(tmp_path / "x.dcm", pixels)
    assert off(mimic.decode_image(path).pixels, recipe(pixels, "MONOCHROME2")) <= 1


def test_a_jpg_is_never_equalised(tmp_path: Path) -> None:
    dark = Image.fromarray((dicoms.radiograph(8) // 4).astype(np.uint8))
    dark.save(tmp_path / "x.jpg", quality=95)
    for equalize in (True, False):
        image = mimic.read_image(tmp_path / "x.jpg", equalize=equalize)
        assert np.array_equal(image, Image.open(tmp_path / "x.jpg"))
        assert image.info["cxr_max_decode"] == "jpg"
    assert np.array_equal(mimic.decode_image(tmp_path / "x.jpg").pixels, Image.open(tmp_path / "x.jpg"))


def test_colour_and_wide_pictures_become_grey(tmp_path: Path) -> None:
    grey = Image.fromarray(dicoms.radiograph(8).astype(np.uint8))
    grey.convert("RGB").save(tmp_path / "x.png")
    assert np.array_equal(mimic.read_image(tmp_path / "x.png"), grey)
    wide = dicoms.radiograph(16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert off(np.asarray(mimic.read_image(tmp_path / "wide.png")), wide // 257) <= 1


def test_a_dicom_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "x.dcm", dicoms.radiograph())
    path.rename(tmp_path / "x.jpg")
    assert mimic.read_image(tmp_path / "x.jpg").info["cxr_max_decode"] == "dicom:equalized"


@pytest.mark.parametrize("name", ["color3d_jpeg_baseline.dcm", "US1_UNCR.dcm", "eCT_Supplemental.dcm", "rtplan.dcm"])
def test_what_is_no_radiograph_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        mimic.read_image(dicoms.real(name))


def test_more_pixels_than_allowed_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "x.dcm", dicoms.radiograph())
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 65_535
    dataset.save_as(path)
    with pytest.raises(DataError, match="at most 100000000"):
        mimic.read_image(path)
    Image.new("L", (200, 100)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="200 x 100"):
        mimic.decode_image(tmp_path / "x.png", max_pixels=10_000)


@pytest.mark.parametrize("syntax", ["jpeg2000", "jpegls"])
def test_a_compressed_image_that_claims_another_size_is_refused(syntax: str, tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "x.dcm", dicoms.radiograph(), syntax=syntax)
    content = path.read_bytes()
    height = (96).to_bytes(4 if syntax == "jpeg2000" else 2, "big")
    at = content.index(height, content.index(b"\xff\x4f\xff\x51" if syntax == "jpeg2000" else b"\xff\xf7"))
    path.write_bytes(content[:at] + b"\x7f" + content[at + 1 :])
    with pytest.raises(DataError, match="compressed image of"):
        mimic.read_image(path)


def test_a_deflated_bomb_is_refused(tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "x.dcm", dicoms.radiograph())
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(path.read_bytes() + bomb.compress(b"\0" * 10_000_000) + bomb.flush())
    with pytest.raises(DataError, match="deflated"):
        mimic.read_image(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 99])
def test_broken_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError):
        mimic.read_image(path)


def test_errors_name_no_file_and_quote_no_header(tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "p10000001.dcm", dicoms.radiograph())
    dataset = pydicom.dcmread(path)
    dataset.PatientID = "SECRETPATIENT"
    dataset.PhotometricInterpretation = "SECRETVALUE"
    dataset.save_as(path)
    with pytest.raises(DataError) as caught:
        mimic.read_image(path)
    assert "p10000001" not in str(caught.value)
    assert "PATIENT" not in str(caught.value)
    with pytest.raises(MissingFileError) as gone:
        mimic.read_image(tmp_path / "p10000002.jpg")
    assert "p10000002" not in str(gone.value)


FUZZ = """
import random, resource, signal, sys
import numpy as np
from pathlib import Path
from cxr_max import mimic
from cxr_max.errors import DataError
bases = [Path(p).read_bytes() for p in sys.argv[4:]]
mimic.read_image(sys.argv[4])
resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[0], -1))
have = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have + (1 << 30), -1))
work = Path(sys.argv[3])
refused = read = 0
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    rng = random.Random(seed)
    content = bytearray(rng.choice(bases))
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        near = min(len(content), rng.choice([400, 2000, len(content)]))
        at, kind = rng.randrange(near), rng.randrange(6)
        if kind < 3:
            content[at] = rng.randrange(256) if kind else rng.choice([0, 255, 127, 128])
        elif kind == 3:
            del content[at:at + rng.randrange(1, 40)]
        elif kind == 4:
            content[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40)))
        else:
            del content[rng.randrange(len(content) // 2, len(content)):]
        if len(content) < 200:
            break
    (work / "case").write_text(str(seed))
    (work / "x.dcm").write_bytes(content)
    signal.alarm(20)
    try:
        image = mimic.read_image(work / "x.dcm")
        assert image.mode == "L"
        read += 1
    except DataError:
        refused += 1
    signal.alarm(0)
print(read, refused)
"""


def fuzz(first: int, last: int, work: Path) -> None:
    """Decode mutated files in a process with a limit on its memory and on the time of each."""
    files = [
        dicoms.variant(work / f"{s}-{p}.dcm", dicoms.radiograph(12), photometric=p, syntax=s)
        for s in dicoms.SYNTAXES
        for p in ("MONOCHROME1", "MONOCHROME2")
    ]
    code = [sys.executable, "-W", "ignore", "-c", FUZZ, str(first), str(last), str(work)]
    done = subprocess.run([*code, *map(str, files)], capture_output=True, text=True, check=False)
    case = (work / "case").read_text()
    assert done.returncode != -signal.SIGALRM, f"case {case} hangs"
    assert done.returncode == 0, f"case {case} ends with {done.returncode}: {done.stderr[-2000:]}"
    read, refused = map(int, done.stdout.split())
    assert read + refused == last - first
    assert refused > (last - first) // 20, "mutations that break nothing prove nothing"
    assert read > (last - first) // 20


def test_mutated_dicoms_are_read_or_refused(tmp_path: Path) -> None:
    fuzz(0, 300, tmp_path)


@pytest.mark.slow
def test_five_thousand_mutated_dicoms_are_read_or_refused(tmp_path: Path) -> None:
    fuzz(10_000, 15_000, tmp_path)


def test_a_full_size_radiograph_takes_little_memory_and_time(tmp_path: Path) -> None:
    path = dicoms.variant(tmp_path / "x.dcm", dicoms.radiograph(12, (3056, 2544)))
    code = f"""
import os
from cxr_max import mimic
mimic.read_image
begun = os.times().user
image = mimic.read_image({str(path)!r})
# ru_maxrss would be that of the test process, which is larger.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(int(peak) / 1024, os.times().user - begun)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    peak, seconds = map(float, done.stdout.split())
    assert peak < 300
    assert seconds < 3
