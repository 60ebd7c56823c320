"""A student that sees and writes: trained once on synthetic patients who occur in no benchmark world.

    python -m benchmarks.synthetic_captioner --out FOLDER [--subjects 6000] [--tiny]

Random weights do not learn to see from essays (the words that name what is on the image are few), nor to write from a
few hundred images, so the synthetic benchmark gives its students what a pretrained model brings. From 6,000 other
synthetic patients: the vision tower is taught by a linear head on its mean feature (`_sight`); the text decoder on
essays about given diagnoses, without any image (template `rationale`); then, the tower frozen, the student on true
captions such as `Left pleural effusion. Cardiomegaly.` (template `diagnose`), both by the engine. So it has seen what
is on films and read how teachers write, and never an essay beside its film. Films are of middle difficulty, fixed
here; the benchmark's own difficulty is searched afterwards, with this student (`benchmarks.synthetic_difficulty
--student FOLDER/captions/final`). A killed run goes on where it stopped.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from benchmarks import _sight, common
from cxr_max import align, data, synth
from cxr_max.align import Optimizer, TrainConfig
from cxr_max.align.scratch import write
from cxr_max.align.students import quiet
from cxr_max.evaluation import diagnosis, grading, predictors
from cxr_max.evaluation.running import EvalConfig, run
from cxr_max.evaluation.types import Context
from cxr_max.folders import write_atomic
from cxr_max.recipes import synthetic_bench
from cxr_max.roots import resolve

SEED = 1000
"""Of the captioner's world; benchmark worlds have seeds below 100."""
FILMS = {"contrast": 1.5, "noise": 15.0, "subtlety": 0.1}
BATCH = 32
"""Captioned images a step."""
TEXTS = 2000
"""Patients' images whose seven essays are read."""


def captioned(row: Mapping[str, Any], there: Mapping[int, diagnosis.Truth], study: int) -> dict[str, Any]:
    """A raw row whose response is the caption of what is there; it stands in the place of one teacher's."""
    said = [f"{side or ''} {label}".strip().capitalize() for label, side in there.get(study, ())]
    return {**row, "response": ". ".join(said or ["Nothing abnormal"]) + "."}


def captions(world: Path) -> Iterator[str]:
    """Lines of the raw file of captions."""
    there = diagnosis.truth_of(world / "truth")
    for line in next(iter(sorted((world / "raw").glob("*.jsonl")))).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        study = int(Path(row["image"]).parent.name.removeprefix("s"))
        yield json.dumps(captioned(row, there, study))


def prepared(out: Path, subjects: int) -> Path:
    """World and release of captions, unless they are there; returns the release."""
    world, release = out / "world", out / "release"
    if not (world / "truth" / "states.parquet").is_file():
        synth.write_world(synthetic_bench.world(subjects=subjects, seed=SEED, **FILMS), world)
    if not (release / "manifest.json").is_file():
        raw = out / "raw"
        raw.mkdir(exist_ok=True)
        write_atomic(raw / "captions.jsonl", "\n".join(captions(world)) + "\n")
        data.build([raw], release, findings=False)
    return release


def seeing(out: Path, release: Path, *, epochs: int, tiny: bool) -> tuple[Path, dict[str, Any]]:
    """Folder of the benchmark's student with a tower that sees, and how well it does on validate."""
    spec = _first(out, release, tiny=tiny).model
    assert spec.scratch is not None
    folder, films = out / "seeing", {}
    write(spec, _essays(out), out / "random", seed=SEED)
    with quiet():
        model = AutoModelForImageTextToText.from_pretrained(out / "random")
    tower, processor = model.model.visual, AutoImageProcessor.from_pretrained(out / "random", backend="pil")
    for split in ("train", "validate"):
        paths, truth = _truth(out, release, split, 8 if tiny else None)
        films[split] = _sight.Films(processor, paths, truth)
    head = _sight.teach(tower, films["train"], out / "sight.pt", epochs=1 if tiny else epochs, seed=SEED)
    shutil.copytree(out / "random", folder, dirs_exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
    return folder, {"images": len(films["train"]), "auc_validate": _sight.area(tower, head, films["validate"])}


def _truth(out: Path, release: Path, split: str, limit: int | None) -> tuple[list[str], np.ndarray]:
    """Frontal images of a split and, for each, which of the (label, side) pairs are there."""
    context = Context(resolve([], mimic_roots=[out / "world" / "mimic"]), limit, release, out / "world" / "truth")
    asked = diagnosis.items(context, split)
    pairs = sorted({p for t in diagnosis.truth_of(out / "world" / "truth").values() for p in t}, key=str)
    return [str(i.sample.images[0]) for i in asked], np.array([[p in i.target for p in pairs] for i in asked])


def _essays(out: Path) -> Iterator[str]:
    for path in sorted((out / "world" / "raw").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[:1000]:
            yield json.loads(line)["response"]


def _first(out: Path, release: Path, *, tiny: bool) -> TrainConfig:
    first = synthetic_bench.build(
        release=release, out=out, mimic_root=(out / "world" / "mimic",), seed=SEED, size="small" if tiny else "full"
    )[0]
    assert isinstance(first, TrainConfig)
    return first


def stages(out: Path, release: Path, student: Path, *, epochs: float, tiny: bool) -> tuple[TrainConfig, TrainConfig]:
    """The engine's two stages: essays as text alone, then captions of films with the tower frozen."""
    first = _first(out, release, tiny=tiny)
    spec = replace(first.model, scratch=None, pretrained=str(student), freeze_vision=True)
    rates = Optimizer(learning_rate=2e-3, min_learning_rate=1e-5, warmup_ratio=0.05)
    if not (out / "essays" / "manifest.json").is_file():
        data.build([out / "world" / "raw"], out / "essays", findings=False)
    reading = first.with_(
        release=out / "essays",
        out=out / "language",
        model=spec,
        template="rationale",
        images=False,
        optimizer=replace(rates, groups=2, micro_groups=2),
        limit=10 if tiny else TEXTS,
        epochs=1.0,
        max_steps=2 if tiny else None,
        recipe="synthetic_captioner",
    )
    captioning = reading.with_(
        release=release,
        out=out / "captions",
        start=out / "language" / "final",
        model=replace(spec, pretrained=None, min_pixels=None, max_pixels=None),
        template="diagnose",
        images=True,
        optimizer=replace(rates, groups=BATCH, micro_groups=BATCH),
        limit=20 if tiny else None,
        epochs=epochs,
    )
    return reading, captioning


def judged(out: Path, release: Path, student: Path, *, limit: int | None) -> dict[str, float]:
    """The student's scores on validate patients of the captioner's world, against their truth."""
    context = Context(resolve([], mimic_roots=[out / "world" / "mimic"]), limit, release, out / "world" / "truth")
    options = {"model": str(student), "max_tokens": "80", "batch_size": "64"}
    run(EvalConfig(("diagnosis_validate",), out / "judged", context), lambda: predictors.make("hf", options))
    rows = [s.row for s in grading.scored(out / "judged", draws=0) if s.row["subset"].startswith("all")]
    return {f"{r['score']} {r['group']}": r["value"] for r in rows}


def main() -> None:
    """Make the world, train, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--subjects", type=int, default=6000)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--sight-epochs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="smallest size: shows that it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        release = prepared(out, 20 if args.tiny else args.subjects)
        student, sight = seeing(out, release, epochs=args.sight_epochs, tiny=args.tiny)
        print(sight, flush=True)
        for stage in stages(out, release, student, epochs=args.epochs, tiny=args.tiny):
            done = align.train(stage, tell=print)
        found = {
            "films": FILMS,
            "subjects": 20 if args.tiny else args.subjects,
            "sight": {"epochs": args.sight_epochs, **sight},
            "epochs": args.epochs,
            "steps": done.steps,
            "images": len(done.training_ids),
            "wall_s": round(done.cost.wall_s, 1),
            "validate": judged(out, release, done.folder, limit=4 if args.tiny else None),
        }
        print(json.dumps(found, indent=1))
        common.write("synthetic_captioner", found, tiny=args.tiny, packages=("torch", "transformers"))


if __name__ == "__main__":
    main()
