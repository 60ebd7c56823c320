"""Small raw rows and releases, made up here: no word of them comes from any report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_max import data, prompts
from cxr_max.teachers import TEACHER_IDS

TEXTS = (
    "**Lungs**\n- There is a small left pleural effusion.\n- No pneumothorax is seen.\n\nThe heart is enlarged.",
    "The image shows hazy opacity at the right base. This may represent pneumonia.",
    "I cannot interpret this image. Atelectasis is a collapse of lung tissue.",
    "Opacité basale gauche – épanchement ≥ 1 cm. Bilateral effusions are present.",
)
SPLITS = ("train", "train", "train", "validate", "test")


def dicom_id(i: int) -> str:
    """A DICOM id of the right form."""
    return "-".join(f"{(i * 2654435761 + k * 40503) % 2**32:08x}" for k in range(5))


def image(i: int) -> str:
    """The path of an image; every second patient has two images in one study."""
    subject = 10_000_000 + i // 2
    return f"files/p{str(subject)[:2]}/p{subject}/s{50_000_000 + i // 2}/{dicom_id(i)}.jpg"


def rows(
    n: int = 6, teachers: Sequence[str] = TEACHER_IDS, *, synthetic: bool = True, seed: int = 7
) -> list[dict[str, Any]]:
    """Flat raw rows of n images and the given teachers."""
    return [
        {
            "image": image(i),
            "split": SPLITS[(i // 2) % len(SPLITS)],
            "teacher": teacher,
            "model": f"{teacher}-2025",
            "prompt": prompts.render(("Pleural Effusion", "Atelectasis")[: 1 + i % 2]),
            "response": f"{TEXTS[(i + t) % len(TEXTS)]} Image {i}, teacher {t}.",
            **({"synthetic": True, "seed": seed} if synthetic else {}),
        }
        for i in range(n)
        for t, teacher in enumerate(teachers)
    ]


def write_jsonl(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write records as JSON Lines; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def release(tmp_path: Path, name: str = "cxr-max", n: int = 6, **options: Any) -> data.Release:
    """A small synthetic release at `tmp_path/name`, with findings unless `findings=False`."""
    raw = write_jsonl(tmp_path / f"{name}-raw" / "rows.jsonl", options.pop("records", None) or rows(n))
    return data.build([raw], tmp_path / name, **options).release
