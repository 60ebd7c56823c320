"""A root of made-up reports, and ways in which a passage of one gets into a file."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_max.mimic.layout import MimicRoot, open_root
from cxr_max.schema import FINDINGS

WORDS = """
lungs heart large small left right basilar apical opacity effusion unchanged stable tube tip carina
mild moderate severe again seen there is no new focal consolidation pneumothorax edema atelectasis
however likely compatible with increased decreased since prior portable upright view of the chest
mediastinum hilar contours are within normal limits bony structures intact degenerative spine
catheter ends in superior vena cava cavoatrial junction
""".split()  # noqa: SIM905
STOCK = "the lungs are clear without focal consolidation and there is no pleural effusion or pneumothorax seen today"
_MACRO = "one macro text that every resident pastes below each study "
LONG_STOCK = " ".join(f"{w} {i}" for i, w in enumerate((_MACRO * 2).split()))


@dataclass
class World:
    """A root on disk with its reports and labels."""

    path: Path
    reports: dict[int, str] = field(default_factory=dict)
    labels: dict[int, dict[str, int | None]] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)

    def open(self) -> MimicRoot:
        return open_root(self.path)

    def passage(self, n: int = 0, words: int = 20) -> str:
        """Words of one report that stand in no other."""
        return " ".join(list(self.reports.values())[n].partition("FINDINGS:")[2].split()[:words])


def write(path: Path, *, patients: int = 12, seed: int = 0) -> World:
    rng, pixels = random.Random(seed), np.random.default_rng(seed)
    world = World(path)
    split = ["dicom_id,study_id,subject_id,split"]
    rows = ["subject_id,study_id," + ",".join(FINDINGS)]
    for i in range(patients):
        subject, study = 10_000_000 + 37 * i + 1, 50_000_000 + 91 * i + 3
        dicom = "-".join(f"{rng.getrandbits(32):08x}" for _ in range(5))
        body = "  ".join(" ".join(rng.choices(WORDS, k=rng.randint(14, 22))).capitalize() + "." for _ in range(5))
        wrapped = "\n ".join(body[k : k + 70] for k in range(0, len(body), 70))
        text = (
            f"                    FINAL REPORT\n FINDINGS:\n\n {wrapped}\n\n IMPRESSION:\n\n {STOCK}.\n {LONG_STOCK}.\n"
        )
        world.reports[study] = text
        folder = path / "files" / f"p{str(subject)[:2]}" / f"p{subject}"
        (folder / f"s{study}").mkdir(parents=True)
        (folder / f"s{study}.txt").write_text(text)
        file = folder / f"s{study}" / f"{dicom}.jpg"
        Image.fromarray(pixels.integers(0, 256, (40, 32), np.uint8)).save(file, quality=90)
        world.images[dicom] = file.read_bytes()
        world.labels[study] = {f: rng.choice([1, 0, -1, None, None]) for f in FINDINGS}
        cells = ",".join("" if v is None else f"{v:.1f}" for v in world.labels[study].values())
        rows.append(f"{subject},{study},{cells}")
        split.append(f"{dicom},{study},{subject},train")
    (path / "mimic-cxr-2.0.0-chexpert.csv").write_text("\n".join(rows) + "\n")
    (path / "mimic-cxr-2.0.0-split.csv").write_text("\n".join(split) + "\n")
    return world
