"""Unlabelled films with one finding each, for a person to name finding and side without seeing the key.

Writes `NN.png` and contact sheets `sheet_N.png`, and the key as `key.json` into a folder of its own that the reader
does not open until all answers are written down.

    python -m benchmarks.blind_images --out FOLDER [--images 60] [--seed S] [--tiny]
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cxr_max.mimic.images import to_uint8
from cxr_max.synth.chest import Film, Finding
from cxr_max.synth.concepts import concepts
from cxr_max.synth.config import WorldConfig
from cxr_max.synth.phantom import render

SHEET = (4, 3)
KINDS = tuple(c.id for c in concepts() if c.label not in (None, "No Finding"))


def draw_case(rng: np.random.Generator, kind: str, config: WorldConfig) -> Finding | None:
    """One finding at a random side, zone and degree, as faint as the world's default knobs make it."""
    concept = next((c for c in concepts() if c.id == kind), None)
    if concept is None:
        return None
    sided = concept.sides[0] + concept.sides[1] > 0.5
    side = int(rng.choice([-1, 1])) if sided else 0
    zone = str(rng.choice(list(concept.zones))) if concept.zones else ""
    strength = config.contrast * (1.0 - config.subtlety * rng.random())
    return Finding(kind, side, zone, int(rng.choice([1, 2, 3])), strength)


def main() -> None:
    """Draw the films, the sheets and the key."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="six small films into a folder that is thrown away")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.tiny or options.out is None else options.out
        count, height = (6, 128) if options.tiny else (options.images, 512)
        key = write(out, count, height, options.seed)
        print(f"{len(key)} films, key apart from them")


def write(out: Path, count: int, height: int, seed: int) -> dict[str, str]:
    """Write films, contact sheets and key; returns the key: number -> "concept side"."""
    rng, config = np.random.default_rng([seed, 77]), WorldConfig()
    kinds = [("normal", *KINDS)[i % (len(KINDS) + 1)] for i in range(count)]
    rng.shuffle(kinds)
    for folder in (out / "films", out / "key"):
        folder.mkdir(parents=True, exist_ok=True)
    key, films = {}, []
    for number, kind in enumerate(kinds, 1):
        finding = draw_case(rng, kind, config)
        film = Film(int(rng.integers(1 << 30)), number, findings=(finding,) if finding else (), noise=config.noise)
        grey = to_uint8(render(film, height, round(height * 0.83)), "MONOCHROME2")
        Image.fromarray(grey).save(out / "films" / f"{number:02d}.png")
        films.append(grey)
        side = {-1: "right", 1: "left"}.get(finding.side, "") if finding else ""
        key[f"{number:02d}"] = f"{kind} {side}".strip()
    (out / "key" / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
    _sheets(out / "films", films)
    return key


def _sheets(out: Path, films: list[np.ndarray]) -> None:
    across, down = SHEET
    height, width = films[0].shape
    for first in range(0, len(films), across * down):
        sheet = Image.new("L", (across * width, down * height))
        draw = ImageDraw.Draw(sheet)
        for k, grey in enumerate(films[first : first + across * down]):
            at = ((k % across) * width, (k // across) * height)
            sheet.paste(Image.fromarray(grey), at)
            draw.text((at[0] + 6, at[1] + 6), str(first + k + 1), fill=255)
        sheet.save(out / f"sheet_{first // (across * down) + 1}.png")


if __name__ == "__main__":
    main()
